"""Lines one pixel wide: morphological thinning, and suppression beside a ridge.

Sources: Guo and Hall's thinning in the form of Lam, Lee and Suen ("Thinning Methodologies", PAMI
1992, p. 879), as MATLAB's `bwmorph(…, 'thin', Inf)`; edge NMS of Dollar and Zitnick ("Fast Edge
Detection Using Structured Forests", PAMI 2015).
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from sa_engine.masks.rle import Mask

# A pixel's neighbours as bits: east, north-east, north, … south-east, as the source numbers them.
_WEIGHTS = np.array([[8, 4, 2], [16, 0, 1], [32, 64, 128]], dtype=np.float32)


def thin(mask: Mask) -> Mask:
    """Lines of a (H, W) mask, one pixel wide and connected as the mask is."""
    left = np.ascontiguousarray(mask).astype(np.uint8)
    while True:
        before = int(left.sum())
        for table in _REMOVABLE:
            neighbours = cv2.filter2D(left, cv2.CV_32F, _WEIGHTS, borderType=cv2.BORDER_CONSTANT)
            left[table[neighbours.astype(np.uint8)] & (left > 0)] = 0
        if int(left.sum()) == before:
            return left.view(np.bool_)


def _removable() -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """For each pattern of neighbours, whether a pixel goes in the first and in the second pass."""
    patterns = np.arange(256)
    x1, x2, x3, x4, x5, x6, x7, x8 = (patterns >> bit & 1 == 1 for bit in range(8))
    ring = (x1, x2, x3, x4, x5, x6, x7, x8, x1)
    crossings = sum((~ring[i] & (ring[i + 1] | ring[i + 2])).astype(int) for i in (0, 2, 4, 6))
    first = sum((ring[i] | ring[i + 1]).astype(int) for i in (0, 2, 4, 6))
    second = sum((ring[i + 1] | ring[i + 2]).astype(int) for i in (0, 2, 4, 6))
    fewest = np.minimum(first, second)
    is_edge = (crossings == 1) & (fewest >= 2) & (fewest <= 3)
    return is_edge & ~((x2 | x3 | ~x8) & x1), is_edge & ~((x6 | x7 | ~x4) & x5)


_REMOVABLE = _removable()

_RADIUS, _SLACK, _RIM = 1, 1.01, 5


def edge_nms(strength: NDArray[np.float32]) -> NDArray[np.float32]:
    """The edge map where it is as strong as one pixel before and behind, across its direction.

    strength: (H, W) float32, from 0. Within 5 pixels of the rim what is left is damped.
    """
    orientation = _orientation(strength)
    height, width = strength.shape
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    step_x, step_y = np.cos(orientation), np.sin(orientation)
    kept = strength > 0
    for away in range(-_RADIUS, _RADIUS + 1):
        if away:
            beside = cv2.remap(
                strength,
                np.clip(columns + away * step_x, 0, width - 1.001).astype(np.float32),
                np.clip(rows + away * step_y, 0, height - 1.001).astype(np.float32),
                cv2.INTER_LINEAR,
            )
            kept &= strength * _SLACK >= beside
    damping_x, damping_y = _damping(width), _damping(height)
    thinned: NDArray[np.float32] = (
        np.where(kept, strength, 0) * damping_x[None] * damping_y[:, None]
    ).astype(np.float32)
    return thinned


def _orientation(strength: NDArray[np.float32]) -> NDArray[np.float32]:
    """The direction across an edge, [0, pi), from second differences of the smoothed map."""
    triangle = np.array([1, 2, 3, 4, 5, 4, 3, 2, 1], dtype=np.float32) / 25
    smooth = cv2.sepFilter2D(
        strength, cv2.CV_32F, triangle, triangle, borderType=cv2.BORDER_REFLECT
    )
    along_y, along_x = np.gradient(smooth)
    _, xx = np.gradient(along_x)
    yy, _ = np.gradient(along_y)
    xy = np.gradient(along_x, axis=0)
    # The source's sign(-xy) leaves a level ridge, where xy is 0, without a direction.
    sign = np.where(xy > 0, -1, 1)
    angle: NDArray[np.float32] = np.mod(np.arctan(yy * sign / (xx + 1e-5)), np.pi)
    return angle


def _damping(length: int) -> NDArray[np.float32]:
    at = np.arange(length)
    nearest = np.minimum(at, length - 1 - at)
    damping: NDArray[np.float32] = np.minimum(1, nearest / _RIM).astype(np.float32)
    return damping
