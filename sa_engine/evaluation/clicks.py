"""Where a careful annotator clicks: inside the object first, then on the largest mistake.

Source: "Segment Anything", section 7.1 and appendix D: the first point is the innermost pixel of
the mask (or a random one); each next point is the innermost pixel of the largest error region.
"""

from dataclasses import dataclass
from enum import StrEnum

import cv2
import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]


class FirstPoint(StrEnum):
    """How the first point is chosen."""

    CENTRE = "centre"
    RANDOM = "random"


@dataclass(frozen=True, slots=True)
class Click:
    """A point prompt: pixel (x, y), and whether it marks foreground."""

    x: int
    y: int
    foreground: bool


def first_click(target: Mask, *, how: FirstPoint, rng: np.random.Generator) -> Click:
    """The first point of a non-empty (H, W) mask."""
    if how is FirstPoint.CENTRE:
        x, y, _ = innermost(target)
        return Click(x, y, True)
    flat = np.flatnonzero(target)
    y, x = divmod(int(flat[rng.integers(len(flat))]), target.shape[1])
    return Click(x, y, True)


def next_click(predicted: Mask, target: Mask, *, ignored: Mask | None = None) -> Click:
    """The innermost pixel of the largest error region, foreground where the target was missed.

    predicted, target: (H, W). ignored: pixels that count neither way.
    Without an error it is the target's innermost pixel once more.
    """
    missed, excess = target & ~predicted, predicted & ~target
    if ignored is not None:
        missed, excess = missed & ~ignored, excess & ~ignored
    found = []
    for wrong, is_missed in ((missed, True), (excess, False)):
        region = _largest_region(wrong)
        if region is not None:
            found.append((int(region.sum()), is_missed, region))
    if not found:
        x, y, _ = innermost(target)
        return Click(x, y, True)
    _, is_missed, region = max(found, key=lambda item: (item[0], item[1]))
    x, y, _ = innermost(region)
    return Click(x, y, is_missed)


def innermost(mask: Mask) -> tuple[int, int, float]:
    """The pixel furthest from the mask's edge, (x, y, distance); the image's rim is an edge."""
    x0, y0, width, height = cv2.boundingRect(mask.view(np.uint8))
    window = np.pad(mask[y0 : y0 + height, x0 : x0 + width], 1)
    depth = cv2.distanceTransform(window.view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    y, x = divmod(int(np.argmax(depth)), depth.shape[1])
    return x0 + x - 1, y0 + y - 1, float(depth[y, x])


def _largest_region(mask: Mask) -> Mask | None:
    if not mask.any():
        return None
    x0, y0, width, height = cv2.boundingRect(mask.view(np.uint8))
    window = np.ascontiguousarray(mask[y0 : y0 + height, x0 : x0 + width])
    _, labels, stats, _ = cv2.connectedComponentsWithStats(window.view(np.uint8), connectivity=8)
    largest = 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    region = np.zeros_like(mask)
    region[y0 : y0 + height, x0 : x0 + width] = labels == largest
    return region
