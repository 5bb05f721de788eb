"""Cores by the affinity mask, and by the quota of a control group."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sa_engine.pipelines.run.cgroups import ControlGroups
from sa_engine.pipelines.run.cores import usable_cores

MINE = len(os.sched_getaffinity(0))


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize(
    ("group", "files", "cores"),
    [
        ("0::/job", {"job/cpu.max": "max 100000\n"}, MINE),
        ("0::/job", {"job/cpu.max": "100000 100000\n"}, 1),
        ("0::/job", {"job/cpu.max": "30000 100000\n"}, 1),  # a third of a core
        ("0::/job", {"job/cpu.max": "6400000 100000\n"}, MINE),  # more than there are
        # The quota of a group around it holds, too, even where the own group has none.
        ("0::/pod/task", {"pod/cpu.max": "100000 100000\n", "pod/task/cpu.max": "max 1\n"}, 1),
        # In a container: named as the host sees it, mounted as the root.
        ("0::/kubepods/pod/x", {"cpu.max": "100000 100000\n"}, 1),
        (
            "3:cpu,cpuacct:/slurm\n0::/",
            {
                "cpu,cpuacct/slurm/cpu.cfs_quota_us": "100000",
                "cpu,cpuacct/slurm/cpu.cfs_period_us": "100000",
            },
            1,
        ),
        ("3:cpu:/x", {"cpu/x/cpu.cfs_quota_us": "-1", "cpu/x/cpu.cfs_period_us": "100000"}, MINE),
        ("0::/job", {"job/cpu.max": "nonsense"}, MINE),
        ("", {}, MINE),
    ],
)
def test_quota(tmp_path: Path, group: str, files: dict[str, str], cores: int) -> None:
    write(tmp_path / "cgroup", group)
    for name, text in files.items():
        write(tmp_path / "fs" / name, text)
    groups = ControlGroups(tmp_path / "fs", tmp_path / "cgroup")
    assert usable_cores(groups) == cores


def test_a_process_that_is_bound_to_one_core_uses_one() -> None:
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); "
        "from sa_engine.pipelines.run.cores import usable_cores; print(usable_cores())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "1"
