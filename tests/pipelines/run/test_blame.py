"""Whose death a worker's is: the kernel's counts of those killed for want of memory."""

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sa_engine.dataset.folder.base import LocalFolder
from sa_engine.dataset.manifest import read_manifest
from sa_engine.dataset.shards.writer import journaled
from sa_engine.pipelines.run.blame import OutOfMemoryKills, is_fault, oom_kills
from sa_engine.pipelines.run.cgroups import ControlGroups
from sa_engine.pipelines.run.one_image import Reading
from sa_engine.pipelines.run.start import run_here
from tests.pipelines.conftest import deterministic_bytes
from tests.support.annotators import Hungry

ROOT = Path(__file__).resolve().parents[3]


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
        # The last process has still to leave.
        limit = time.monotonic() + 20
        while (folder / "cgroup.procs").read_text() and time.monotonic() < limit:
            time.sleep(0.1)
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
    done = subprocess.run(
        [sys.executable, "-c", code, limited],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    # Killed by the kernel, and a second death without a further count is none of memory.
    assert done.stdout.split() == [str(-signal.SIGKILL), "True", "False"]
    # To a run beside it, in another group, a SIGKILL at this time is one from outside.
    assert not is_fault(-signal.SIGKILL, elsewhere)


IN_GROUP = """
import os, pathlib, sys
from sa_engine.dataset.folder.base import LocalFolder
from sa_engine.errors import SaEngineError
from sa_engine.pipelines.run.one_image import Reading
from sa_engine.pipelines.run.start import run_workers
from sa_engine.pipelines.run.workers import Workers
from tests.support.annotators import Hungry

if __name__ == "__main__":
    group, out, word, always = sys.argv[1:]
    pathlib.Path(group, "cgroup.procs").write_text(str(os.getpid()))
    hungry = Hungry(word, 700, int(always))
    try:
        summary = run_workers(LocalFolder(out), hungry, reading=Reading(), workers=Workers())
        print(summary.num_images, dict(summary.num_failed))
    except SaEngineError as error:
        print(error)
"""


@pytest.fixture
def run_in_group(limited: Path, tmp_path: Path) -> Callable[[LocalFolder, str, int], str]:
    """A function that runs `Hungry` with 700 MiB in all, and returns what was printed."""
    (limited / "memory.limit_in_bytes").write_text(str(700 << 20))
    script = tmp_path / "in_group.py"
    script.write_text(IN_GROUP)

    def run(folder: LocalFolder, word: str, always: int) -> str:
        done = subprocess.run(
            [sys.executable, script, limited, folder.path, word, str(always)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return run


Begin = Callable[[str], LocalFolder]


def test_too_little_memory_for_anything_is_no_images_fault(
    run_in_group: Callable[[LocalFolder, str, int], str], begin: Begin
) -> None:
    starved, calm = begin("starved"), begin("calm")
    said = run_in_group(starved, "nothing", 700)
    assert said.startswith("there is too little memory even for an empty picture")
    assert not any(journaled(starved.url, read_manifest(starved)).values())
    for folder in (starved, calm):
        run_here(folder, Hungry("nothing", 0), reading=Reading())
    assert deterministic_bytes(starved) == deterministic_bytes(calm)


def test_a_first_image_that_is_too_large_for_the_memory_is_passed_over(
    run_in_group: Callable[[LocalFolder, str, int], str], begin: Begin
) -> None:
    assert run_in_group(begin("large"), "photo 00", 0) == "12 {'killed-worker': 1}"
