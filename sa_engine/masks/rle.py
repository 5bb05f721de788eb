"""Run-length encoded masks, as COCO defines them.

COCO RLE: the mask is read column by column (Fortran order); `counts` alternates lengths of
background and foreground runs, beginning with background. The compressed form packs those numbers
into ASCII; it is the only form that the engine stores. Source: COCO API, `maskApi.c`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

Mask = NDArray[np.bool_]
"""A binary mask, (H, W) bool."""


@dataclass(frozen=True, slots=True)
class Rle:
    """A mask as COCO compressed RLE.

    size_hw: (height, width) in pixels.
    counts: COCO's compressed ASCII string.
    """

    size_hw: tuple[int, int]
    counts: str

    def to_coco(self) -> dict[str, Any]:
        """The JSON form: {"size": [h, w], "counts": str}."""
        return {"size": list(self.size_hw), "counts": self.counts}


def encode(mask: NDArray[Any]) -> Rle:
    """Encode a (H, W) mask; non-zero is foreground."""
    height, width = mask.shape
    coded = coco_mask.encode(np.asfortranarray(mask != 0, dtype=np.uint8))
    return Rle((height, width), coded["counts"].decode("ascii"))


def decode(rle: Rle) -> Mask:
    """Decode to a (H, W) bool mask."""
    decoded: NDArray[np.uint8] = coco_mask.decode(_to_bytes(rle))
    return decoded.view(np.bool_)


def area(rle: Rle) -> int:
    """Foreground pixels."""
    return int(coco_mask.area(_to_bytes(rle)))


def bbox_xywh(rle: Rle) -> tuple[float, float, float, float]:
    """COCO's box of the mask, (x, y, width, height) in pixels; all 0 for an empty mask."""
    x, y, w, h = coco_mask.toBbox(_to_bytes(rle)).tolist()
    return (x, y, w, h)


def iou_matrix(first: Sequence[Rle], second: Sequence[Rle]) -> NDArray[np.float64]:
    """IoU of every mask of `first` with every mask of `second`, (len(first), len(second))."""
    if not first or not second:
        return np.zeros((len(first), len(second)))
    crowd = [0] * len(second)
    ious = coco_mask.iou([_to_bytes(r) for r in first], [_to_bytes(r) for r in second], crowd)
    return np.asarray(ious, dtype=np.float64).reshape(len(first), len(second))


def from_runs(runs: Sequence[int], size_hw: tuple[int, int]) -> Rle:
    """Compress run lengths (background first, column-major) that add up to H·W."""
    height, width = size_hw
    coded = coco_mask.frPyObjects(
        {"size": [height, width], "counts": [int(n) for n in runs]}, height, width
    )
    counts = coded["counts"]
    return Rle((height, width), counts.decode("ascii") if isinstance(counts, bytes) else counts)


def encode_window(window: NDArray[Any], *, origin_xy: tuple[int, int], size_hw: tuple[int, int]) -> Rle:
    """Encode a mask that is zero outside a window, without an array of the full size.

    window: (h, w) mask, non-zero is foreground; it must lie inside the image.
    origin_xy: the window's top left pixel in the image.
    size_hw: the image's (height, width).
    """
    height, width = size_hw
    x0, y0 = origin_xy
    h, w = window.shape
    if x0 < 0 or y0 < 0 or x0 + w > width or y0 + h > height:
        raise ValueError(f"window {w}x{h} at {origin_xy} leaves the {width}x{height} image")
    padded = np.zeros((w, h + 2), dtype=np.int8)
    padded[:, 1:-1] = (window != 0).T
    steps = np.diff(padded, axis=1)
    column_start = (np.arange(x0, x0 + w, dtype=np.int64) * height + y0)[:, None]
    positions = np.broadcast_to(column_start + np.arange(h + 1), steps.shape)
    starts, ends = positions[steps == 1], positions[steps == -1]
    # A run that reaches the image's bottom goes on at the top of the next column.
    joined = starts[1:] == ends[:-1]
    starts = starts[np.concatenate(([True], ~joined))] if starts.size else starts
    ends = ends[np.concatenate((~joined, [True]))] if ends.size else ends
    edges = np.empty(2 * starts.size + 2, dtype=np.int64)
    edges[0], edges[-1] = 0, height * width
    edges[1:-1:2], edges[2:-1:2] = starts, ends
    runs = np.diff(edges)
    return from_runs((runs if runs[-1] else runs[:-1]).tolist(), size_hw)


def _to_bytes(rle: Rle) -> dict[str, Any]:
    return {"size": list(rle.size_hw), "counts": rle.counts.encode("ascii")}
