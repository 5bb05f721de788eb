"""Outlines a quarter pixel inside a mask's edges: the same mask for several rasterisers.

A ring along pixel edges (see `polygons`) means a mask to rasterisers that fill what lies between
the edges, as COCO's does. Tools that cut coordinates to whole numbers, take those as pixels and
fill with the outline drawn (OpenCV's `fillPoly` in Ultralytics, Pillow's `polygon` in labelme) make
of it a mask that is a pixel larger to the right and below. A ring moved inwards by less than half a
pixel is cut to the mask's own outermost pixels by these, and filled to the same mask by COCO's.
supervision rounds instead of cutting, for which the points must move once more (`to_pixels`).
"""

import numpy as np
from numpy.typing import NDArray

from sa_engine.masks.polygons import PolygonPart, Ring, to_parts
from sa_engine.masks.rle import Mask, Rle, decode_window

STEPS = 4
"""Coordinates of an inset ring are whole multiples of a pixel's `STEPS`-th part, so that they are
exact in files."""

_BEHIND = (0.498, 0.499)
"""Pixels behind a pixel's corner of points that lie a quarter, and three quarters, behind it."""


def to_pixels(ring: Ring) -> NDArray[np.float64]:
    """An inset ring's points moved to less than half a pixel behind their pixels' corners.

    Tools that cut coordinates and tools that round them find the same pixels. It is nearly half a
    pixel, so that points that a tool puts between those of two pixels that touch by a corner are in
    the one or the other. COCO's rasteriser is to have the ring back by `from_pixels`.
    """
    behind = np.where(ring % STEPS == 1, *_BEHIND)
    corners = (ring // STEPS).astype(np.float64)
    return corners + behind


def from_pixels(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """The inset ring, in pixels, of points that `to_pixels` has moved."""
    with np.errstate(invalid="ignore"):
        corners = np.floor(points)
        return corners + np.where(points - corners < sum(_BEHIND) / 2, 0.25, 0.75)


def touches_by_corner(part: PolygonPart) -> bool:
    """Whether an inset part has pieces that touch by a corner of pixels alone."""
    rings = (part.outer, *part.holes)
    return any((np.roll(ring, -1, axis=0) - ring).all(axis=1).any() for ring in rings)


def to_inset_parts(rle: Rle) -> list[PolygonPart]:
    """`to_parts` with every ring moved inwards by a quarter of a pixel; in quarters of a pixel.

    A hole's first point is its topmost, the leftmost of these, as it is where `to_parts` begins:
    at a corner with the mask above it and to its left.
    """
    window, origin_xy = decode_window(rle)
    padded = np.pad(window, 1)
    origin = np.asarray(origin_xy)
    return [
        PolygonPart(
            _inset(part.outer, padded, origin),
            tuple(_inset(hole, padded, origin) for hole in part.holes),
        )
        for part in to_parts(rle)
    ]


def _inset(ring: Ring, padded: Mask, origin_xy: NDArray[np.intp]) -> Ring:
    """A ring of pixel corners, the mask at its right hand, as one inside the mask's pixels.

    padded: the mask from `origin_xy` on with a border of one pixel.
    """
    arriving = np.sign(ring - np.roll(ring, 1, axis=0))
    leaving = np.roll(arriving, -1, axis=0)
    before, after = _right_of(arriving), _right_of(leaving)
    # Two corners of pixels that touch by them alone lie on one spot: there the ring crosses from
    # one pixel to the other, and the pixel between the two is not of the mask.
    x, y = (ring - origin_xy + 1 + (before + after - 1) // 2).T
    is_crossing = ~padded[y, x]
    first = STEPS * ring + before + np.where(is_crossing[:, None], -arriving, after)
    second = STEPS * ring + after + leaving
    places = np.repeat(np.arange(len(ring)), 1 + is_crossing)
    is_second = np.concatenate(([False], places[1:] == places[:-1]))
    moved: Ring = np.where(is_second[:, None], second[places], first[places]).astype(np.int32)
    return moved


def _right_of(directions: NDArray[np.int32]) -> NDArray[np.int32]:
    """Unit steps to the right hand of unit steps, y down."""
    return np.stack((-directions[:, 1], directions[:, 0]), axis=1)
