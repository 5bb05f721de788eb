"""A dataset as a source of images with the boxes of their objects."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sa_engine.dataset.records import ImageRecord, MaskRecord
from sa_engine.masks import rle
from sa_engine.model.framing import fitted_size
from sa_engine.training.data.feature_bank import FeatureBank
from sa_engine.training.data.photos import (
    PhotoSource,
    Window,
    draw_window,
    meets,
    relight,
)
from sa_engine.training.data.samples import PIXEL_FILL
from sa_engine.training.detector.config import DetectorTrainConfig

_LEAST_VISIBLE = 0.25
"""An object is one while the window shows this share of its pixels."""
_MOST_AREA = 0.95
"""Masks over this share of what is shown are background rather than objects."""


@dataclass(frozen=True, slots=True)
class DetectorSample:
    """One image and the boxes of its objects, in the model's input frame.

    image_3SS: uint8, content at the top left, the rest PIXEL_FILL; None where its encoded maps are
        kept already.
    boxes_G4: float32 xyxy, pixels of the input; G may be 0.
    input_hw: the part of the input that holds the image.
    entry: where its encoded maps are kept; -1 if they are not.
    """

    image_3SS: NDArray[np.uint8] | None
    boxes_G4: NDArray[np.float32]
    input_hw: tuple[int, int]
    entry: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorSource:
    """Images of a dataset that have masks, each as likely as any other.

    photos: the set; its size is the model's input. first_entry: number of the first of its
    variations among those of all sets. views: variations of each image; 0 for ever new ones.
    bank: where encoded maps are kept.
    """

    photos: PhotoSource
    config: DetectorTrainConfig
    views: int
    first_entry: int = 0
    bank: FeatureBank | None = None

    @property
    def name(self) -> str:
        """The set's name."""
        return self.photos.name

    @property
    def num_entries(self) -> int:
        """Variations of all images."""
        return len(self.photos.records) * self.views

    def draw(self, rng: np.random.Generator, *, key: int) -> DetectorSample:  # noqa: ARG002
        """A random image, varied, with the boxes that are visible in it."""
        index = int(rng.integers(len(self.photos.records)))
        entry = view = -1
        if self.views:
            view = int(rng.integers(self.views))
            entry = self.first_entry + index * self.views + view
            # From here on all follows from the variation, whoever asks for it and when.
            rng = np.random.default_rng([self.config.seed, entry])
        record = self.photos.records[index]
        window, boxes = self._variation(record, view, rng)
        if len(boxes) > self.config.max_objects:
            boxes = boxes[np.sort(rng.permutation(len(boxes))[: self.config.max_objects])]
        if self.bank is not None and entry in self.bank:
            return DetectorSample(None, boxes, window.size_hw, entry)
        rgb = window.cut(self.photos.dataset.read_rgb(record))
        if view not in (0, 1):
            rgb = relight(rgb, self.photos.jitter, rng)
        size = self.photos.size
        image = np.empty((size, size, 3), dtype=np.uint8)
        image[:] = PIXEL_FILL
        image[: rgb.shape[0], : rgb.shape[1]] = rgb
        return DetectorSample(image.transpose(2, 0, 1).copy(), boxes, window.size_hw, entry)

    def _variation(
        self, record: ImageRecord, view: int, rng: np.random.Generator
    ) -> tuple[Window, NDArray[np.float32]]:
        """View 0 is the image as it is, view 1 its mirror image, others are varied."""
        if view in (0, 1):
            shown = fitted_size((record.height, record.width), self.photos.size)
            window = Window(0, 0, record.width, record.height, shown, view == 1)
            return window, visible_boxes(record, window, self.config.min_side)
        for _ in range(4):
            window = draw_window(record, rng, size=self.photos.size, jitter=self.photos.jitter)
            boxes = visible_boxes(record, window, self.config.min_side)
            if len(boxes):
                break
        return window, boxes


def visible_boxes(record: ImageRecord, window: Window, min_side: float) -> NDArray[np.float32]:
    """Boxes (G, 4) of the parts of an image's objects that a window shows, xyxy in its pixels.

    min_side: boxes with a shorter side, in pixels of the window as shown, are left out.
    """
    height, width = window.y1 - window.y0, window.x1 - window.x0
    found = []
    for mask in record.annotations:
        if mask.iscrowd or not mask.area or not meets(mask, window):
            continue
        box, area = _visible(mask, window)
        if area < _LEAST_VISIBLE * mask.area or area > _MOST_AREA * height * width:
            continue
        found.append(box)
    boxes = np.array(found, dtype=np.float64).reshape(-1, 4) - [
        window.x0,
        window.y0,
        window.x0,
        window.y0,
    ]
    shown_h, shown_w = window.size_hw
    boxes *= [shown_w / width, shown_h / height] * 2
    if window.flipped:
        boxes[:, [0, 2]] = shown_w - boxes[:, [2, 0]]
    sides = boxes[:, 2:] - boxes[:, :2]
    kept: NDArray[Any] = boxes[(sides >= min_side).all(axis=1)]
    return kept.astype(np.float32)


def _visible(mask: MaskRecord, window: Window) -> tuple[list[float], int]:
    """The box of what the window shows of a mask, xyxy in pixels of the image, and its area."""
    x, y, w, h = mask.bbox_xywh
    if x >= window.x0 and y >= window.y0 and x + w <= window.x1 and y + h <= window.y1:
        return [x, y, x + w, y + h], mask.area
    bits, (left, top) = rle.decode_window(mask.segmentation)
    rows = slice(max(window.y0 - top, 0), max(window.y1 - top, 0))
    columns = slice(max(window.x0 - left, 0), max(window.x1 - left, 0))
    bits = bits[rows, columns]
    if not bits.any():
        return [0.0, 0.0, 0.0, 0.0], 0
    ys, xs = np.flatnonzero(bits.any(axis=1)), np.flatnonzero(bits.any(axis=0))
    x0, y0 = left + columns.start, top + rows.start
    return [x0 + xs[0], y0 + ys[0], x0 + xs[-1] + 1.0, y0 + ys[-1] + 1.0], int(bits.sum())
