"""Runs of worker processes: the same bytes whoever did the work and whatever happened to them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sa_engine.dataset.folder.base import LocalFolder
from sa_engine.dataset.reader import Dataset
from sa_engine.dataset.records import ImageStatus
from sa_engine.errors import SaEngineError
from sa_engine.pipelines.run.start import run_here, run_workers
from sa_engine.pipelines.run.worker import Part, Reading
from sa_engine.pipelines.run.workers import Workers
from tests.pipelines.conftest import deterministic_bytes, journal_bytes
from tests.support.annotators import Bright, Crashing, Endless, Raising

Begin = Callable[[str], LocalFolder]


def test_one_process_or_three_write_the_same_bytes(begin: Begin) -> None:
    alone, together = begin("alone"), begin("together")
    summary = run_here(alone, Bright(), reading=Reading())
    assert (summary.num_images, summary.num_masks, summary.num_failed) == (12, 12, {})
    assert summary.num_new == 12
    summary = run_workers(together, Bright(), reading=Reading(), workers=Workers(count=3))
    assert (summary.num_images, summary.num_new) == (12, 12)
    assert deterministic_bytes(alone) == deterministic_bytes(together)


def test_masks_are_those_of_the_image(begin: Begin) -> None:
    folder = begin("alone")
    run_here(folder, Bright(), reading=Reading())
    record = Dataset(folder.path)[3]
    assert record.source == "photo 03.png"
    # photograph 3 has its bright box at rows 2 to 6, columns 3 to 8
    assert record.annotations[0].bbox_xywh == (3, 2, 6, 5)
    assert record.annotations[0].area == 30


def test_a_finished_run_does_nothing_more(begin: Begin) -> None:
    folder = begin("alone")
    run_here(folder, Bright(), reading=Reading())
    before = {path: path.stat().st_mtime_ns for path in folder.path.glob("sa_*")}
    summary = run_workers(folder, Bright(), reading=Reading(), workers=Workers())
    assert (summary.num_new, summary.num_images) == (0, 12)
    assert before == {path: path.stat().st_mtime_ns for path in folder.path.glob("sa_*")}


def test_parts_do_their_shards_and_no_others(begin: Begin) -> None:
    whole, parts = begin("whole"), begin("parts")
    run_here(whole, Bright(), reading=Reading())
    first = run_here(parts, Bright(), reading=Reading(), workers=Workers(part=Part(0, 2)))
    assert first.num_images == 7  # shards 0 and 2 of 5, 5, 2 images
    second = run_here(parts, Bright(), reading=Reading(), workers=Workers(part=Part(1, 2)))
    assert second.num_images == 5
    assert deterministic_bytes(whole) == deterministic_bytes(parts)


def test_a_bad_file_is_recorded_and_the_run_goes_on(begin: Begin, photographs: Path) -> None:
    (photographs / "photo 05.png").write_bytes(b"not an image")
    (photographs / "photo 06.png").write_bytes(b"")
    folder = begin("alone")
    summary = run_here(folder, Bright(), reading=Reading())
    assert summary.num_failed == {"empty": 1, "not-an-image": 1}
    assert [failure.source for failure in summary.failures] == ["photo 05.png", "photo 06.png"]
    failed = [r for r in Dataset(folder.path).images() if r.status is ImageStatus.FAILED]
    assert [record.image_id for record in failed] == [6, 7]


def test_an_unexpected_error_costs_one_image(begin: Begin) -> None:
    folder = begin("alone")
    summary = run_here(folder, Raising("photo 07"), reading=Reading())
    assert summary.num_failed == {"internal": 1}
    assert "RuntimeError: a bug" in summary.failures[0].error


def test_a_worker_that_dies_is_replaced(begin: Begin, tmp_path: Path) -> None:
    calm, crashing = begin("calm"), begin("crashing")
    attempts = tmp_path / "attempts"
    attempts.mkdir()
    run_here(calm, Bright(), reading=Reading())
    annotator = Crashing("photo 06", 1, attempts)
    summary = run_workers(crashing, annotator, reading=Reading(), workers=Workers(count=2))
    assert len(list(attempts.iterdir())) == 1
    assert summary.num_failed == {}
    assert deterministic_bytes(calm) == deterministic_bytes(crashing)


def test_an_image_that_kills_its_worker_twice_is_passed_over(begin: Begin, tmp_path: Path) -> None:
    folder = begin("crashing")
    attempts = tmp_path / "attempts"
    attempts.mkdir()
    annotator = Crashing("photo 06", 99, attempts)
    summary = run_workers(folder, annotator, reading=Reading(), workers=Workers())
    assert len(list(attempts.iterdir())) == 2
    assert summary.num_images == 12
    assert summary.num_failed == {"killed-worker": 1}
    assert Dataset(folder.path)[6].error is not None


def test_an_image_that_takes_too_long_twice_is_passed_over(begin: Begin) -> None:
    folder = begin("slow")
    workers = Workers(image_seconds=2.0)
    summary = run_workers(folder, Endless("photo 06"), reading=Reading(), workers=workers)
    assert summary.num_images == 12
    assert summary.num_failed == {"time-limit": 1}
    error = Dataset(folder.path)[6].error
    assert error == "time-limit: it took 2 workers longer than --image-timeout allows"


def test_too_many_failures_stop_the_run_and_keep_what_was_done(
    begin: Begin, photographs: Path
) -> None:
    for number in range(12):
        (photographs / f"photo {number:02d}.png").write_bytes(b"not an image")
    folder = begin("wrong")
    with pytest.raises(SaEngineError, match="4 images failed, --max-failures allows 3"):
        run_workers(folder, Bright(), reading=Reading(), workers=Workers(max_failures=3))


SCRIPT = """
import sys
from sa_engine.dataset.folder.base import LocalFolder
from sa_engine.errors import InterruptedRun
from sa_engine.pipelines.run.start import run_workers
from sa_engine.pipelines.run.workers import Workers
from sa_engine.pipelines.run.worker import Reading
from tests.support.annotators import Bright

if __name__ == "__main__":
    try:
        run_workers(
            LocalFolder(sys.argv[1]), Bright(0.2), reading=Reading(), workers=Workers(count=2)
        )
    except InterruptedRun:
        sys.exit(130)
"""


def started(folder: LocalFolder, tmp_path: Path) -> subprocess.Popen[bytes]:
    """The run as a process of its own that has finished an image or more."""
    script = tmp_path / "run.py"
    script.write_text(SCRIPT)
    root = Path(__file__).resolve().parents[3]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    process = subprocess.Popen([sys.executable, str(script), str(folder.path)], env=environment)
    until = time.monotonic() + 60
    while time.monotonic() < until:
        if max(journal_bytes(folder, index) for index in range(3)) > 1000:
            return process
        time.sleep(0.02)
    process.kill()
    raise AssertionError("the run did not get going")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 130), (signal.SIGINT, 130)])
def test_a_signal_ends_the_run_with_130_and_it_continues(
    begin: Begin, tmp_path: Path, number: signal.Signals, status: int
) -> None:
    calm, stopped = begin("calm"), begin("stopped")
    run_here(calm, Bright(), reading=Reading())
    process = started(stopped, tmp_path)
    process.send_signal(number)
    assert process.wait(timeout=30) == status
    summary = run_here(stopped, Bright(), reading=Reading())
    assert 0 < summary.num_new < 12
    assert deterministic_bytes(calm) == deterministic_bytes(stopped)


def test_sigkill_of_the_parent_loses_no_finished_image(begin: Begin, tmp_path: Path) -> None:
    calm, killed = begin("calm"), begin("killed")
    run_here(calm, Bright(), reading=Reading())
    process = started(killed, tmp_path)
    process.kill()
    process.wait(timeout=30)
    summary = run_here(killed, Bright(), reading=Reading())
    assert 0 < summary.num_new < 12
    assert deterministic_bytes(calm) == deterministic_bytes(killed)


def test_a_part_says_what_it_leaves(begin: Begin) -> None:
    folder = begin("parts")
    first = run_here(folder, Bright(), reading=Reading(), workers=Workers(part=Part(1, 2)))
    assert (first.num_images, first.num_left) == (5, 2)
    # Without parts, whatever is left is done, from the middle on.
    rest = run_here(folder, Bright(), reading=Reading(), workers=Workers(part=Part(begin=0.9)))
    assert (rest.num_images, rest.num_new, rest.num_left) == (12, 7, 0)
