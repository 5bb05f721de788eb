"""Whose death a worker's is: the kernel's counts of those killed for want of memory."""

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from sa_engine.pipelines.run.blame import OutOfMemoryKills, is_fault, oom_kills
from sa_engine.pipelines.run.cgroups import ControlGroups


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize(
    ("group", "files", "kills"),
    [
        ("0::/job", {"job/memory.events": "low 0\noom 2\noom_kill 3\n"}, 3),
        # The innermost that counts: what happens around it is of neighbours.
        (
            "0::/pod/task",
            {
                "pod/memory.events": "oom_kill 9\noom_group_kill 0\n",
                "pod/task/memory.events": "oom_kill 1\n",
            },
            1,
        ),
        ("4:memory:/job", {"memory/job/memory.oom_control": "under_oom 0\noom_kill 2\n"}, 2),
        ("4:memory:/host/x", {"memory/memory.oom_control": "oom_kill 5\n"}, 5),
    ],
)
def test_kills_are_counted_by_the_own_group(
    tmp_path: Path, group: str, files: dict[str, str], kills: int
) -> None:
    write(tmp_path / "cgroup", group)
    for name, text in files.items():
        write(tmp_path / "fs" / name, text)
    assert oom_kills(ControlGroups(tmp_path / "fs", tmp_path / "cgroup")) == kills


@pytest.fixture
def limited() -> Iterator[Path]:
    """A control group (version 1) whose processes may have 128 MiB."""
    place = Path("/sys/fs/cgroup/memory")
    if os.geteuid() != 0 or not (place / "memory.limit_in_bytes").is_file():
        pytest.skip("control groups of version 1 are not there to be made")
    folder = place / f"sa-engine-{uuid.uuid4().hex}"
    folder.mkdir()
    try:
        (folder / "memory.limit_in_bytes").write_text(str(128 << 20))
        yield folder
    finally:
        folder.rmdir()


def test_a_real_death_for_want_of_memory_is_the_groups_own(limited: Path) -> None:
    elsewhere = OutOfMemoryKills()
    code = (
        "import os, pathlib, sys; "
        "pathlib.Path(sys.argv[1], 'cgroup.procs').write_text(str(os.getpid())); "
        "from sa_engine.pipelines.run.blame import OutOfMemoryKills, is_fault; "
        "kills = OutOfMemoryKills(); pid = os.fork(); "
        # The one that wants too much is the one to go.
        "pid or pathlib.Path('/proc/self/oom_score_adj').write_text('1000'); "
        "data = bytearray(os.urandom(1 << 20) * 400) if pid == 0 else None; "
        "status = os.waitpid(pid, 0)[1]; code = -os.WTERMSIG(status); "
        "print(code, is_fault(code, kills), is_fault(code, kills))"
    )
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run(
        [sys.executable, "-c", code, limited],
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    # Killed by the kernel, and a second death without a further count is none of memory.
    assert done.stdout.split() == [str(-signal.SIGKILL), "True", "False"]
    # To a run beside it, in another group, a SIGKILL at this time is one from outside.
    assert not is_fault(-signal.SIGKILL, elsewhere)
