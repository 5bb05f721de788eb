"""Annotators without a model, for tests of how work is run. Importable by worker processes."""

import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sa_engine.dataset.images import StoredImage
from sa_engine.dataset.inputs import Source
from sa_engine.dataset.records import MaskRecord, Stage
from sa_engine.masks.rle import area, bbox_xywh, encode
from sa_engine.pipelines.work import Annotate


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

    def open(self, worker: int) -> Annotate:
        def annotate(source: Source, image: StoredImage) -> Sequence[MaskRecord]:
            time.sleep(self.seconds)
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
