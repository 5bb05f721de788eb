"""`retry_failed`: only what had failed is done again, and everything else stays to the byte."""

from collections.abc import Callable
from pathlib import Path

import pytest

from sa_engine.dataset.folder.base import LocalFolder
from sa_engine.dataset.manifest import read_manifest
from sa_engine.dataset.reader import Dataset
from sa_engine.dataset.shards.claims import claim
from sa_engine.dataset.shards.stats import read_stats
from sa_engine.dataset.shards.writer import pending_shards
from sa_engine.dataset.verify import verify
from sa_engine.errors import DamagedError, SaEngineError
from sa_engine.pipelines.run.one_image import Reading
from sa_engine.pipelines.run.start import run_here, run_workers
from sa_engine.pipelines.run.watch import RunSummary
from sa_engine.pipelines.run.worker import Part, plan_retry, stats_digest
from sa_engine.pipelines.run.workers import Workers
from tests.pipelines.conftest import deterministic_bytes, journal_bytes
from tests.support.annotators import Bright, Crashing, Faulty

Begin = Callable[[str], LocalFolder]

# In shards of five: the first image of all, one amid a shard, the last of a shard, the last of all.
LOST = ("photo 00.png", "photo 07.png", "photo 09.png", "photo 11.png")


def hide(photographs: Path, *names: str) -> None:
    for name in names:
        (photographs / name).rename(photographs / f".{name}")


def restore(photographs: Path, *names: str) -> None:
    for name in names:
        (photographs / f".{name}").rename(photographs / name)


RETRY = Workers(retry_failed=True)


def retry(folder: LocalFolder, workers: Workers = RETRY) -> RunSummary:
    return run_here(folder, Bright(), reading=Reading(), workers=workers)


@pytest.fixture
def calm(begin: Begin) -> LocalFolder:
    folder = begin("calm")
    run_here(folder, Bright(), reading=Reading())
    return folder


@pytest.fixture
def wanting(begin: Begin, calm: LocalFolder, photographs: Path) -> LocalFolder:
    """Complete, with four images that were missing when it was made and are there again."""
    folder = begin("wanting")
    hide(photographs, *LOST)
    summary = run_here(folder, Bright(), reading=Reading())
    assert summary.num_failed == {"missing": 4}
    restore(photographs, *LOST)
    return folder


def test_a_plain_run_tries_nothing_again(wanting: LocalFolder) -> None:
    summary = run_here(wanting, Bright(), reading=Reading())
    assert (summary.num_new, summary.num_retried, summary.num_failed) == (0, 0, {"missing": 4})


def test_what_is_mended_ends_as_if_it_had_never_failed(
    wanting: LocalFolder, calm: LocalFolder
) -> None:
    summary = retry(wanting)
    assert (summary.num_new, summary.num_retried, summary.num_still_failing) == (4, 4, 0)
    assert (summary.num_failed, summary.num_masks) == ({}, 12)
    assert deterministic_bytes(wanting) == deterministic_bytes(calm)
    assert verify(wanting.path) == []
    assert not (wanting.path / ".work").exists()


def test_the_others_are_kept_even_when_their_files_are_gone(
    wanting: LocalFolder, calm: LocalFolder, photographs: Path
) -> None:
    for path in photographs.iterdir():
        if path.name not in LOST:
            path.unlink()
    assert retry(wanting).num_failed == {}
    assert deterministic_bytes(wanting) == deterministic_bytes(calm)


def test_the_others_are_kept_whatever_the_stage_would_say_today(
    wanting: LocalFolder, calm: LocalFolder
) -> None:
    # Image 3 was done and would fail now; nobody asks.
    summary = run_here(wanting, Faulty("photo 03", "value"), reading=Reading(), workers=RETRY)
    assert (summary.num_retried, summary.num_failed) == (4, {})
    assert deterministic_bytes(wanting) == deterministic_bytes(calm)


def test_what_fails_again_leaves_its_shard_as_it_was(
    wanting: LocalFolder, photographs: Path
) -> None:
    hide(photographs, "photo 00.png", "photo 09.png", "photo 11.png")
    before = deterministic_bytes(wanting)
    times = {p.name: p.stat().st_mtime_ns for p in wanting.path.glob("sa_*[rt]")}
    first = read_stats(wanting, 0)
    summary = retry(wanting)
    assert (summary.num_retried, summary.num_still_failing) == (4, 3)
    assert summary.num_failed == {"missing": 3}
    after = deterministic_bytes(wanting)
    # Only shard 1 had an image that went through: 7 of 7 and 9.
    assert {name for name in before if before[name] != after[name]} == {
        "sa_000001.tar",
        "sa_000001.parquet",
    }
    assert (wanting.path / "sa_000000.tar").stat().st_mtime_ns == times["sa_000000.tar"]
    later = read_stats(wanting, 0)
    assert first is not None and later is not None and later.seconds > first.seconds
    assert verify(wanting.path) == []


def test_a_failure_for_another_reason_is_recorded_anew(
    wanting: LocalFolder, photographs: Path
) -> None:
    (photographs / "photo 07.png").write_bytes(b"")
    summary = retry(wanting)
    assert (summary.num_still_failing, summary.num_failed) == (1, {"empty": 1})
    assert Dataset(wanting.path)[7].error == "empty: photo 07.png has no bytes"
    assert verify(wanting.path) == []


def test_several_workers_try_each_image_once(
    wanting: LocalFolder, calm: LocalFolder, photographs: Path
) -> None:
    hide(photographs, "photo 07.png", "photo 09.png")
    workers = Workers(count=3, retry_failed=True)
    summary = run_workers(wanting, Bright(), reading=Reading(), workers=workers)
    assert (summary.num_retried, summary.num_still_failing) == (4, 2)
    restore(photographs, "photo 07.png", "photo 09.png")
    summary = run_workers(wanting, Bright(), reading=Reading(), workers=workers)
    assert (summary.num_retried, summary.num_still_failing) == (2, 0)
    assert deterministic_bytes(wanting) == deterministic_bytes(calm)


def test_parts_try_theirs_and_no_others(wanting: LocalFolder) -> None:
    for index in (1, 0):
        workers = Workers(part=Part(index, 2), retry_failed=True)
        assert retry(wanting, workers).num_retried == 2


def test_of_a_run_that_was_stopped_failures_are_tried_again_and_the_rest_is_done(
    begin: Begin, calm: LocalFolder, photographs: Path
) -> None:
    folder = begin("stopped")
    hide(photographs, *LOST)
    with pytest.raises(SaEngineError, match="2 images failed, --max-failures allows 1"):
        run_here(folder, Bright(), reading=Reading(), workers=Workers(max_failures=1))
    # Shard 0 is complete; the journal of shard 1 holds image 7, failed.
    manifest = read_manifest(folder)
    assert pending_shards(folder.path, manifest) == [1, 2]
    assert plan_retry(folder, manifest) == {0: stats_digest(folder, 0), 1: None}
    restore(photographs, *LOST)
    summary = retry(folder)
    assert (summary.num_retried, summary.num_still_failing, summary.num_failed) == (2, 0, {})
    assert deterministic_bytes(folder) == deterministic_bytes(calm)


def test_an_image_that_killed_its_workers_gets_another_chance(
    begin: Begin, calm: LocalFolder, tmp_path: Path
) -> None:
    folder = begin("crashing")
    attempts = tmp_path / "attempts"
    attempts.mkdir()
    annotator = Crashing("photo 06", 3, attempts)
    summary = run_workers(folder, annotator, reading=Reading(), workers=Workers())
    assert summary.num_failed == {"killed-worker": 1}
    # It kills once more, and is then done by the next worker.
    summary = run_workers(folder, annotator, reading=Reading(), workers=Workers(retry_failed=True))
    assert (summary.num_failed, len(list(attempts.iterdir()))) == ({}, 3)
    assert deterministic_bytes(folder) == deterministic_bytes(calm)


class Killed(BaseException):
    pass


@pytest.mark.parametrize("then", ["plain", "retry"])
def test_every_step_may_be_the_last(
    wanting: LocalFolder,
    calm: LocalFolder,
    photographs: Path,
    monkeypatch: pytest.MonkeyPatch,
    then: str,
) -> None:
    """Killed before each single change to the folder, and after the images are lost for good."""
    changes = 0
    allowed = 0

    def counted(name: str) -> Callable[..., None]:
        real = getattr(LocalFolder, name)

        def change(self: LocalFolder, *arguments: object) -> None:
            nonlocal changes
            if changes >= allowed:
                raise Killed
            changes += 1
            real(self, *arguments)

        return change

    before = deterministic_bytes(wanting)
    with monkeypatch.context() as patched:
        for name in ("publish", "withdraw"):
            patched.setattr(LocalFolder, name, counted(name))
        finished = False
        while not finished:
            changes = 0
            try:
                retry(wanting)
                finished = True
            except Killed:
                # Whatever looks complete is whole.
                assert {problem.kind for problem in verify(wanting.path)} <= {"missing"}
            allowed += 1
            if then == "plain" and not finished:
                # Somebody else continues the run without a word of failures: shards that were
                # nearly replaced are finished, the others stay.
                changes = -1000
                run_here(wanting, Bright(), reading=Reading())
                assert verify(wanting.path) == []
    assert allowed > 4
    assert before != deterministic_bytes(wanting) == deterministic_bytes(calm)


def test_a_damaged_shard_is_not_copied_under_a_new_checksum(wanting: LocalFolder) -> None:
    path = wanting.path / "sa_000001.tar"
    data = bytearray(path.read_bytes())
    data[700] ^= 1
    path.write_bytes(data)
    with pytest.raises(DamagedError, match=r"sa_000001\.tar is damaged: run `sa-engine verify"):
        retry(wanting)
    assert path.read_bytes() == data


def test_what_another_run_has_just_tried_is_not_tried_again(
    wanting: LocalFolder, photographs: Path
) -> None:
    hide(photographs, *LOST)
    plan = plan_retry(wanting, read_manifest(wanting))
    assert retry(wanting).num_retried == 4
    assert plan.keys() == {0, 1, 2}
    assert all(stats_digest(wanting, index) != digest for index, digest in plan.items())


def test_a_shard_that_another_holds_is_waited_for(
    wanting: LocalFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = claim(wanting.path, 0, redo=True)
    assert lease is not None
    asked = 0

    def wait(stop: object, seconds: float) -> None:
        nonlocal asked
        asked += 1
        lease.release()

    monkeypatch.setattr("sa_engine.pipelines.run.worker.wait_or_stop", wait)
    assert retry(wanting).num_retried == 4
    assert asked == 1


def test_an_attempt_that_was_cut_off_is_gone_on_with(
    wanting: LocalFolder, calm: LocalFolder, photographs: Path
) -> None:
    hide(photographs, "photo 09.png")
    with pytest.raises(SaEngineError, match="1 images failed"):
        run_here(
            wanting, Bright(), reading=Reading(), workers=Workers(retry_failed=True, max_failures=0)
        )
    # Image 7 went through and waits in the journal; 9 is mended only now, and is tried again.
    assert journal_bytes(wanting, 1) > 0
    restore(photographs, "photo 09.png")
    (photographs / "photo 07.png").unlink()
    assert retry(wanting).num_failed == {}
    assert deterministic_bytes(wanting) == deterministic_bytes(calm)
