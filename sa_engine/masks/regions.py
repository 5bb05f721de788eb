"""Small regions of a mask: fill small holes, drop specks.

A region is 8-connected. A hole is any region of background smaller than the limit, at the image's
border too, as in the public code's post-processing. That code never empties a mask: when every
piece is small it keeps the largest. The paper drops such a mask (section 4, appendix B).
"""

from dataclasses import dataclass
from enum import StrEnum

import cv2
import numpy as np
from numpy.typing import NDArray

from sa_engine.masks import rle as run_lengths
from sa_engine.masks.rle import Mask, Rle


class SmallMasks(StrEnum):
    """What becomes of a mask whose largest piece is under the limit."""

    KEEP_LARGEST = "keep-largest"
    """It keeps its largest piece (public code)."""
    DROP = "drop"
    """It is dropped (paper)."""


@dataclass(frozen=True, slots=True)
class Cleaned:
    """A mask without its small regions.

    mask: the new mask, or None if it was dropped.
    changed: whether any pixel differs from the mask that came in.
    """

    mask: Rle | None
    changed: bool


def fill_holes(mask: Mask, min_area: float) -> tuple[Mask, bool]:
    """Fill regions of background of fewer than `min_area` pixels; also whether any was filled.

    mask: (H, W) bool.
    """
    regions, areas = _regions(~mask)
    small = areas < min_area
    small[0] = False
    if not small.any():
        return mask, False
    filled: Mask = mask | small[regions]
    return filled, True


def drop_specks(mask: Mask, min_area: float) -> tuple[Mask, bool]:
    """Drop pieces of fewer than `min_area` pixels; also whether any was dropped or found small.

    mask: (H, W) bool. If every piece is small, the largest stays (the first of several, in the
    order of their labels). A single small piece therefore stays as it is and counts as found.
    """
    regions, areas = _regions(mask)
    if not (areas[1:] < min_area).any():
        return mask, False
    return _large_enough(areas, min_area)[regions], True


def clean(
    rle: Rle, min_area: float, *, small_masks: SmallMasks = SmallMasks.KEEP_LARGEST
) -> Cleaned:
    """Fill holes, then drop specks under `min_area` pixels, in the part of the image it covers.

    `changed` is the public code's notion: also true for a mask of one small piece, which is kept
    as it is. That code then prefers other masks over it.
    """
    if run_lengths.area(rle) == 0:
        return Cleaned(None if small_masks is SmallMasks.DROP else rle, changed=False)
    mask = run_lengths.decode(rle)
    (x0, y0), window, has_holes = _fill_near(mask, run_lengths.bbox_xywh(rle), min_area)
    labels, areas = _regions(window)
    if small_masks is SmallMasks.DROP and areas[1:].max() < min_area:
        return Cleaned(None, changed=True)
    has_specks = bool((areas[1:] < min_area).any())
    if not (has_holes or has_specks):
        return Cleaned(rle, changed=False)
    kept = _large_enough(areas, min_area)[labels]
    coded = run_lengths.encode_window(kept, origin_xy=(x0, y0), size_hw=rle.size_hw)
    return Cleaned(coded, changed=True)


def _large_enough(areas: NDArray[np.int64], min_area: float) -> NDArray[np.bool_]:
    """By label, whether a piece stays: it is large enough, or the largest where none is."""
    keep = areas >= min_area
    keep[0] = False
    if not keep.any():
        keep[1 + int(np.argmax(areas[1:]))] = True
    return keep


def _fill_near(
    mask: Mask, bbox_xywh: tuple[float, float, float, float], min_area: float
) -> tuple[tuple[int, int], Mask, bool]:
    """Fill holes in a window that holds the mask: its origin (x, y), the window, and if any was.

    The window has a rim of background wherever the image goes on; on each side the rim is one
    region with all that lies beyond it. Its corner has even coordinates, so that labels come in
    the same order as in the whole image (they are given by pairs of rows and columns).
    """
    height, width = mask.shape
    x, y, w, h = (int(v) for v in bbox_xywh)
    x0, y0 = max(x - 1, 0) // 2 * 2, max(y - 1, 0) // 2 * 2
    x1, y1 = min(x + w + 1, width), min(y + h + 1, height)
    window = np.ascontiguousarray(mask[y0:y1, x0:x1])
    labels, areas = _regions(~window)
    rows, columns = (y0, y1 - y0, height - y1), (x0, x1 - x0, width - x1)
    outer = np.zeros(len(areas), dtype=np.int64)
    for i, j in ((0, 0), (0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1), (2, 2)):
        outer[labels[-(i // 2), -(j // 2)]] += rows[i] * columns[j]
    small = areas + outer < min_area
    small[0] = False
    if (small & (outer > 0)).any():
        return (0, 0), *fill_holes(mask, min_area)
    return (x0, y0), window | small[labels], bool(small.any())


def _regions(mask: Mask) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Labels (H, W), 0 where the mask is not, and the area of each label."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    areas = stats[:, cv2.CC_STAT_AREA].astype(np.int64)
    return labels.astype(np.int32, copy=False), areas
