"""What goes wrong with one image costs that image; what goes wrong with the run ends it."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from sa_engine.dataset.folder.base import LocalFolder
from sa_engine.dataset.reader import Dataset
from sa_engine.dataset.sources import listing
from sa_engine.dataset.sources.source_list import Source
from sa_engine.dataset.verify import verify
from sa_engine.errors import BrokenWorker, DatasetError, InterruptedRun, SaEngineError, UsageError
from sa_engine.pipelines.run import one_image
from sa_engine.pipelines.run.one_image import Reading, load
from sa_engine.pipelines.run.start import run_here, run_workers
from sa_engine.pipelines.run.workers import Workers
from tests.support.annotators import Bright, Faulty, Unopened

Begin = Callable[[str], LocalFolder]


@pytest.mark.parametrize(
    ("how", "error"),
    [
        ("value", "internal: ValueError: two (image of 20x16)"),
        ("memory", "out-of-memory: MemoryError (image of 20x16)"),
        (
            "device memory",
            "out-of-memory: OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB "
            "(image of 20x16)",
        ),
        (
            "recursion",
            "internal: RecursionError: maximum recursion depth exceeded (image of 20x16)",
        ),
        ("usage", "refused: an image of 1x1 is too small"),
        ("annotation", "annotations: its label file is no JSON"),
        ("image", "empty: it has no pixels"),
        ("surrogate", "internal: RuntimeError: caf\\udce9 (image of 20x16)"),
        ("no masks", "internal: AttributeError: 'NoneType' object has no attribute 'category'"),
        ("object", "internal: ValueError: image 8 cannot be stored: Object of type object"),
        ("nan", "internal: ValueError: "),
        ("too large", "internal: "),
        ("text", "internal: "),
        ("box", "internal: "),
        ("long", "internal: RuntimeError: xxx"),
    ],
)
def test_whatever_goes_wrong_with_one_image_is_its_failure(
    begin: Begin, how: str, error: str
) -> None:
    folder = begin("faulty")
    summary = run_here(folder, Faulty("photo 07", how), reading=Reading())
    assert sum(summary.num_failed.values()) == 1
    assert (summary.num_images, summary.num_masks) == (12, 11)
    record = Dataset(folder.path)[7]
    assert record.error is not None
    assert record.error.startswith(error)
    assert len(record.error) < 2100 and record.sha256
    assert verify(folder.path) == []


@pytest.mark.parametrize(
    ("how", "error"),
    [("disk", DatasetError), ("interrupt", InterruptedRun), ("device", BrokenWorker)],
)
def test_what_ends_a_run_ends_it_and_keeps_what_was_done(
    begin: Begin, how: str, error: type[Exception]
) -> None:
    folder = begin("faulty")
    with pytest.raises(error):
        run_here(folder, Faulty("photo 07", how), reading=Reading())
    summary = run_here(folder, Bright(), reading=Reading())
    assert (summary.num_new, summary.num_failed) == (5, {})


def test_an_annotator_that_cannot_be_opened_ends_the_run(begin: Begin) -> None:
    with pytest.raises(UsageError, match="no such model"):
        run_here(begin("unopened"), Unopened(), reading=Reading())


def test_a_device_that_fails_at_one_image_costs_two_processes_and_that_image(
    begin: Begin,
) -> None:
    folder = begin("device")
    summary = run_workers(
        folder, Faulty("photo 07", "device"), reading=Reading(), workers=Workers()
    )
    assert summary.num_failed == {"killed-worker": 1}
    assert summary.num_masks == 11


def test_a_device_that_fails_at_every_image_ends_the_run_with_its_words(begin: Begin) -> None:
    with pytest.raises(SaEngineError, match=r"died 5 times .* device-side assert triggered"):
        run_workers(
            begin("device"), Faulty("photo", "device"), reading=Reading(), workers=Workers()
        )


def test_a_decoder_that_raises_what_nobody_expects_costs_one_image(
    begin: Begin, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    whole = listing.read_source_bytes

    def read(source: listing.Source, **limits: int) -> bytes:
        if "04" in source.name:
            raise MemoryError
        if "05" in source.name:
            raise ZeroDivisionError("division by zero")
        return whole(source, **limits)

    monkeypatch.setattr(one_image, "read_source_bytes", read)
    summary = run_here(begin("odd"), Bright(), reading=Reading())
    assert summary.num_failed == {"internal": 1, "out-of-memory": 1}
    assert [failure.error for failure in summary.failures] == [
        "out-of-memory: MemoryError",
        "internal: ZeroDivisionError: division by zero",
    ]


def test_long_files_are_refused_before_they_are_read(tmp_path: Path) -> None:
    """Holes cost no disk; reading them would cost as much memory as they are long."""
    reading = Reading(max_pixels=1_000_000)
    zeros, signed = tmp_path / "zeros.png", tmp_path / "signed.png"
    zeros.write_bytes(b"")
    signed.write_bytes(b"\x89PNG\r\n\x1a\n")
    os.truncate(zeros, reading.max_bytes)
    os.truncate(signed, reading.max_bytes + 1)
    errors = [load(Source(str(path), path.name), reading).error for path in (zeros, signed)]
    assert errors[0] == "not-an-image: it begins like no image format that is read"
    assert str(errors[1]).startswith("too-large: signed.png: has 75108865 bytes, limit 75108864")


def test_a_store_that_is_gone_ends_the_run_and_costs_no_image(
    begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = begin("outage")
    real, outage = listing.read_source_bytes, [True]

    def read(source: listing.Source, *, max_bytes: int) -> bytes:
        if outage and source.name >= "photo 06":
            raise DatasetError("cannot reach the store of s3://bucket/x: run it again")
        return real(source, max_bytes=max_bytes)

    monkeypatch.setattr(one_image, "read_source_bytes", read)
    with pytest.raises(DatasetError, match="cannot reach the store"):
        run_here(folder, Bright(), reading=Reading())
    outage.clear()
    summary = run_here(folder, Bright(), reading=Reading())
    assert summary.num_failed == {} and summary.num_images == 12 and summary.num_new < 12
