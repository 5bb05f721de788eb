"""The shape of a mask in numbers: its hull, its boundary, its pieces and holes.

Source of the measures: "Segment Anything", section 5 (concavity is 1 minus mask area over the area
of the mask's convex hull).
"""

from dataclasses import dataclass

import cv2
import numpy as np

from sa_engine.masks.rle import Mask, Rle, decode_window


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskShape:
    """What a mask looks like.

    area: foreground pixels.
    hull_area: area of the convex hull of its pixels, each a unit square; from `area` on.
    boundary_px: foreground pixels with a side on the outside, or on the image's edge.
    components: 8-connected pieces. holes: 4-connected pieces of background that a piece encloses.
    """

    area: int
    hull_area: float
    boundary_px: int
    components: int
    holes: int

    @property
    def concavity(self) -> float:
        """1 - area / hull area, [0, 1)."""
        return 1 - self.area / self.hull_area


def shape_of(rle: Rle) -> MaskShape | None:
    """The shape of a mask, looked at within its box; None for an empty one.

    Raises ValueError as `rle.runs` does.
    """
    window, _ = decode_window(rle)
    return shape_of_window(window) if window.size else None


def shape_of_window(window: Mask) -> MaskShape | None:
    """The shape of a (h, w) bool mask; what lies outside the array is background."""
    area = int(np.count_nonzero(window))
    if not area:
        return None
    padded = cv2.copyMakeBorder(window.view(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    inner = cv2.erode(padded, _CROSS)
    rings, tree = cv2.findContours(padded, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    outer = [ring for ring, links in zip(rings, tree[0], strict=True) if links[3] < 0]
    return MaskShape(
        area=area,
        hull_area=_hull_area(np.concatenate(outer).reshape(-1, 2)),
        boundary_px=area - int(np.count_nonzero(inner)),
        components=len(outer),
        holes=len(rings) - len(outer),
    )


_CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))


def _hull_area(pixels_xy: np.ndarray) -> float:
    """Area of the hull of unit squares, given those on its outline, (N, 2) integers."""
    hull = cv2.convexHull(pixels_xy.astype(np.int32)).reshape(-1, 2)
    corners = (hull[:, None] + _CORNERS).reshape(-1, 2).astype(np.int32)
    return float(cv2.contourArea(cv2.convexHull(corners)))


_CORNERS = np.array([[0, 0], [1, 0], [0, 1], [1, 1]])
