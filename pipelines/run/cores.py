"""Processor cores that this process may use, which are seldom all that the machine has."""

import os
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")


def usable_cores(cgroups: Path = CGROUPS, own: Path = Path("/proc/self/cgroup")) -> int:
    """How many cores threads of this process can run on at once, 1 or more.

    A scheduler binds a job to some cores (the affinity mask); a container has a share of the
    processor's time (the quota of its control group, version 1 or 2, or of a group around it).
    Whichever is less counts; half a core counts as one.

    cgroups: where control groups are mounted. own: the file that names those of this process.
    """
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    return max(1, min(cores, round(_quota(cgroups, own) or cores)))


def _quota(cgroups: Path, own: Path) -> float | None:
    """The least quota, in cores, of this process's control groups; None where there is none."""
    try:
        lines = own.read_text("utf-8").splitlines()
    except OSError:
        return None
    found = []
    for line in lines:
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            found += [_quota_v2(each / "cpu.max") for each in _upwards(cgroups, path)]
        elif "cpu" in controllers.split(","):
            found += [
                _quota_v1(each)
                for mount in ("cpu", controllers)
                for each in _upwards(cgroups / mount, path)
            ]
    return min((quota for quota in found if quota is not None), default=None)


def _upwards(root: Path, path: str) -> list[Path]:
    """A group's folder and those around it, up to the root.

    In a container the file may name the group as the host sees it, while its own is mounted as the
    root: a folder that is not there says nothing.
    """
    folder = root / path.strip("/")
    return [folder, *(each for each in folder.parents if each.is_relative_to(root))]


def _quota_v2(path: Path) -> float | None:
    try:
        quota, period = path.read_text("ascii").split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None


def _quota_v1(folder: Path) -> float | None:
    try:
        quota = int((folder / "cpu.cfs_quota_us").read_text("ascii"))
        period = int((folder / "cpu.cfs_period_us").read_text("ascii"))
        return quota / period if quota > 0 else None
    except (OSError, ValueError, ZeroDivisionError):
        return None
