"""Processor cores that this process may use, which are seldom all that the machine has."""

import os
from pathlib import Path

from sa_engine.pipelines.run.cgroups import ControlGroups


def usable_cores(groups: ControlGroups | None = None) -> int:
    """How many cores threads of this process can run on at once, 1 or more.

    A scheduler binds a job to some cores (the affinity mask); a container has a share of the
    processor's time (the quota of its control group, or of a group around it). Whichever is less
    counts; half a core counts as one.

    groups: None for those of this process.
    """
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    folders = (groups or ControlGroups()).folders("cpu")
    quotas = [_quota(version, folder) for version, folder in folders]
    quota = min((each for each in quotas if each is not None), default=cores)
    return max(1, min(cores, round(quota)))


def _quota(version: int, folder: Path) -> float | None:
    """Of one control group, in cores; None where there is none."""
    try:
        if version == 2:
            quota, period = (folder / "cpu.max").read_text("ascii").split()
        else:
            quota = (folder / "cpu.cfs_quota_us").read_text("ascii")
            period = (folder / "cpu.cfs_period_us").read_text("ascii")
        cores = int(quota) / int(period)  # "max" is no number, and -1 no quota
        return cores if cores > 0 else None
    except (OSError, ValueError, ZeroDivisionError):
        return None
