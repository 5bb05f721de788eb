"""Annotators without a model, for tests of how work is run. Importable by worker processes."""

import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sa_engine.dataset.images.reading import StoredImage
from sa_engine.dataset.records import MaskRecord, Stage
from sa_engine.dataset.sources.listing import Source
from sa_engine.errors import AnnotationError, DatasetError, ImageError, InterruptedRun, UsageError
from sa_engine.masks.rle import area, bbox_xywh, encode
from sa_engine.pipelines.run.worker import Annotate


def bright_mask(image: StoredImage) -> MaskRecord:
    """The bright pixels of an image as one mask."""
    segmentation = encode(image.rgb_HW3[..., 0] > 127)
    height, width = image.size_hw
    return MaskRecord(
        segmentation=segmentation,
        bbox_xywh=bbox_xywh(segmentation),
        area=area(segmentation),
        stage=Stage.AUTOMATIC,
        predicted_iou=0.9,
        stability_score=1.0,
        crop_box_xywh=(0, 0, width, height),
        point_coords_xy=((0.5, 0.5),),
    )


@dataclass(frozen=True, slots=True)
class Bright:
    """Marks bright pixels, taking `seconds` an image."""

    seconds: float = 0.0
    score: float = 0.9

    def open(self, worker: int) -> Annotate:
        def annotate(source: Source, image: StoredImage) -> Sequence[MaskRecord]:
            time.sleep(self.seconds)
            return [replace(bright_mask(image), predicted_iou=self.score)]

        return annotate


@dataclass(frozen=True, slots=True)
class Endless:
    """Never comes to an end with images whose name holds `word`."""

    word: str

    def open(self, worker: int) -> Annotate:
        def annotate(source: Source, image: StoredImage) -> Sequence[MaskRecord]:
            while self.word in source.name:
                time.sleep(1)
            return [bright_mask(image)]

        return annotate


@dataclass(frozen=True, slots=True)
class Crashing:
    """Kills its own process at images whose name holds `word`; the first `times` times only.

    Attempts are counted by files in `folder`, since a dead process remembers nothing.
    """

    word: str
    times: int
    folder: Path
    number: int = signal.SIGSEGV

    def open(self, worker: int) -> Annotate:
        def annotate(source: Source, image: StoredImage) -> Sequence[MaskRecord]:
            attempts = len(list(self.folder.iterdir()))
            if self.word in source.name and attempts < self.times:
                (self.folder / str(attempts)).touch()
                os.kill(os.getpid(), self.number)
            return [bright_mask(image)]

        return annotate


@dataclass(frozen=True, slots=True)
class Raising:
    """Raises an unexpected error at images whose name holds `word`."""

    word: str

    def open(self, worker: int) -> Annotate:
        def annotate(source: Source, image: StoredImage) -> Sequence[MaskRecord]:
            if self.word in source.name:
                raise RuntimeError("a bug")
            return [bright_mask(image)]

        return annotate


class OutOfMemoryError(RuntimeError):
    """As the deep learning library calls it."""


class AcceleratorError(RuntimeError):
    """As the deep learning library calls a device that has failed for good."""


ERRORS: dict[str, BaseException] = {
    "value": ValueError("two\nlines"),
    "memory": MemoryError(),
    "device memory": OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    "recursion": RecursionError("maximum recursion depth exceeded"),
    "usage": UsageError("an image of 1x1 is too small"),
    "annotation": AnnotationError("its label file is no JSON"),
    "image": ImageError("empty", "it has no pixels"),
    "surrogate": RuntimeError("caf\udce9"),
    "long": RuntimeError("x" * 100_000),
    "disk": DatasetError("cannot write /out: No space left on device"),
    "interrupt": InterruptedRun("stopped"),
    "device": AcceleratorError("CUDA error: device-side assert triggered"),
}

CHANGES: dict[str, dict[str, Any]] = {
    "nan": {"stability_score": float("nan")},
    "too large": {"area": 2**70},
    "text": {"predicted_iou": "high"},
    "object": {"attributes": {"odd": object()}},
    "box": {"bbox_xywh": (1, 2)},
}


@dataclass(frozen=True, slots=True)
class Faulty:
    """Goes wrong, in one of the ways above, at images whose name holds `word`."""

    word: str
    how: str

    def open(self, worker: int) -> Annotate:
        def annotate(source: Source, image: StoredImage) -> Sequence[MaskRecord]:
            mask = bright_mask(image)
            if self.word not in source.name:
                return [mask]
            if self.how in ERRORS:
                raise ERRORS[self.how]
            if self.how == "no masks":
                return [None]  # type: ignore[list-item]  # what a wrong annotator may do
            return [replace(mask, **CHANGES[self.how])]

        return annotate


@dataclass(frozen=True, slots=True)
class Unopened:
    """Cannot be opened."""

    def open(self, worker: int) -> Annotate:
        raise UsageError("there is no such model")


@dataclass(frozen=True, slots=True)
class Hungry:
    """Takes so many MiB at images whose name holds `word`, and before it is asked for any."""

    word: str
    mebibytes: int
    always: int = 0

    def open(self, worker: int) -> Annotate:
        # The one that wants too much is the one to go.
        score = Path("/proc/self/oom_score_adj")
        if score.exists():
            score.write_text("1000")

        def annotate(source: Source, image: StoredImage) -> Sequence[MaskRecord]:
            wanted = self.mebibytes if self.word in source.name else 0
            taken = bytearray(os.urandom(1 << 20) * max(wanted, self.always))
            return [bright_mask(image)][: len(taken) + 1]

        return annotate
