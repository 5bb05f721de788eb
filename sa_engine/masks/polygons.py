"""Polygons to masks and masks to polygons.

Coordinates are (x, y) with y down, in pixel corners: pixel (0, 0) is the square from (0, 0) to
(1, 1). Polygons are filled by COCO's rasteriser (`rleFrPoly` in the COCO API), so that a COCO file
gives the masks that its own tools give. Rings traced here run along pixel edges; that rasteriser
gives back exactly the mask that they were traced from.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from sa_engine.masks.rle import Mask, Rle, decode_window, from_runs, runs

Ring = NDArray[np.int32]
"""A closed ring of pixel corners, (N, 2) xy; the first point is not repeated."""

REACH = 4
"""How many times the image's larger side a coordinate may lie away before a polygon is clipped."""

LONGEST_OUTLINE = 10_000_000
"""Pixels. The rasteriser holds 40 bytes for each pixel of the outline, wherever it lies."""


@dataclass(frozen=True, slots=True)
class PolygonPart:
    """One piece of a mask whose pixels touch by side or corner.

    outer: its outline, clockwise as seen on the screen.
    holes: the outlines of its holes, anticlockwise.
    """

    outer: Ring
    holes: tuple[Ring, ...] = ()


def from_polygons(rings: Sequence[Sequence[float] | NDArray[Any]], size_hw: tuple[int, int]) -> Rle:
    """The union of filled polygons, as COCO fills them.

    rings: each a flat x, y, x, y, … of finite numbers, three points or more. A ring that crosses
        itself is filled by the even-odd rule. What lies outside the image is left out.
    size_hw: the image's (height, width).
    Raises ValueError for a ring of another form.
    """
    return _union(_fill(rings, size_hw), size_hw)


def from_many_polygons(
    instances: Sequence[Sequence[Sequence[float] | NDArray[Any]]], size_hw: tuple[int, int]
) -> list[Rle]:
    """`from_polygons` for many masks of one image, with one call of the rasteriser."""
    coded = _fill([ring for rings in instances for ring in rings], size_hw)
    masks, start = [], 0
    for rings in instances:
        masks.append(_union(coded[start : start + len(rings)], size_hw))
        start += len(rings)
    return masks


def from_parts(parts: Sequence[PolygonPart], size_hw: tuple[int, int]) -> Rle:
    """Fill parts with their holes: the even-odd rule over all their rings."""
    rings = [ring.reshape(-1) for part in parts for ring in (part.outer, *part.holes)]
    height, width = size_hw
    edges = [np.cumsum(runs(_to_rle(coded, size_hw))) for coded in _fill(rings, size_hw)]
    positions, times = np.unique(np.concatenate([[0], *edges]), return_counts=True)
    # 0 starts the runs and H·W ends them; between, an edge that falls on another cancels it.
    inner = (positions > 0) & (positions < height * width)
    flips = positions[inner & (times % 2 == 1)]
    starts_filled = sum(int(own[0] == 0) for own in edges) % 2 == 1
    bounds = np.concatenate(([0] * (1 + starts_filled), flips, [height * width]))
    return from_runs(np.diff(bounds).tolist(), size_hw)


def to_parts(rle: Rle) -> list[PolygonPart]:
    """Trace a mask along its pixel edges, with holes, parts in reading order of their top left.

    Exact: `from_parts` of the result is the same mask; so is `from_polygons` of the outer rings
    where no part has a hole, and of `to_single_ring`. Pixels that touch only by a corner belong to
    one part, whose ring then passes twice through that corner.
    """
    window, (x0, y0) = decode_window(rle)
    if not window.size:
        return []
    corners, horizontal, vertical = _corners(window)
    outers: list[Ring] = []
    holes: list[Ring] = []
    padded = np.pad(window, 1)
    for loop in _loops(horizontal, vertical):
        ring = corners[loop]
        x, y = ring[0]
        (outers if padded[y + 1, x + 1] else holes).append(ring)
    shift = np.array([x0, y0], dtype=np.int32)
    if not holes:
        return [PolygonPart(ring + shift) for ring in outers]
    owner = _owners(window, outers, holes)
    kept: list[list[Ring]] = [[] for _ in outers]
    for ring, index in zip(holes, owner, strict=True):
        kept[index].append(np.concatenate((ring[:1], ring[:0:-1])) + shift)
    return [PolygonPart(ring + shift, tuple(own)) for ring, own in zip(outers, kept, strict=True)]


def to_single_ring(parts: Sequence[PolygonPart]) -> Ring:
    """One ring for formats that hold no more than one, (N, 2).

    Holes are joined to the outline, and parts to each other, by cuts without width that are walked
    there and back. By the even-odd rule (and by COCO's rasteriser) the mask is the same; a reader
    that also draws the outline shows each cut as a line one pixel wide.
    """
    pieces = [_joined_holes(part) for part in parts]
    joined = pieces[0]
    for piece in pieces[1:]:
        # There from the first point, once round the piece, and back.
        joined = np.concatenate((joined, joined[:1], piece, piece[:1]))
    return joined


def _fill(
    rings: Sequence[Sequence[float] | NDArray[Any]], size_hw: tuple[int, int]
) -> list[dict[str, Any]]:
    height, width = size_hw
    limit = REACH * max(height, width)
    flat: Any = [np.asarray(ring, dtype=np.float64) for ring in rings]
    if not flat:
        return []
    for points in flat:
        if points.ndim != 1 or points.size < 6 or points.size % 2:
            raise ValueError(f"a polygon needs 6 numbers or more, in pairs; {points.size} given")
    # All at once, for nearly always nothing is wrong; also false for NaN.
    every = np.concatenate(flat)
    if not (every.min() >= -limit and every.max() <= limit):
        flat = [_clip(points.reshape(-1, 2), limit).reshape(-1) for points in flat]
    if every.size * limit > LONGEST_OUTLINE:
        for points in flat:
            _check_length(points.reshape(-1, 2))
    filled: Any = coco_mask.frPyObjects(flat, height, width)
    coded: list[dict[str, Any]] = filled
    return coded


def _check_length(points: NDArray[np.float64]) -> None:
    steps = np.abs(points - np.roll(points, 1, axis=0)).max(axis=1).sum()
    if steps > LONGEST_OUTLINE:
        raise ValueError(f"a polygon's outline is {steps:.0f} pixels long, limit {LONGEST_OUTLINE}")


def _union(filled: Any, size_hw: tuple[int, int]) -> Rle:
    if not filled:
        return from_runs([size_hw[0] * size_hw[1]], size_hw)
    return _to_rle(filled[0] if len(filled) == 1 else coco_mask.merge(filled), size_hw)


def _to_rle(coded: Any, size_hw: tuple[int, int]) -> Rle:
    return Rle(size_hw, coded["counts"].decode("ascii"))


def _clip(points: NDArray[np.float64], limit: int) -> NDArray[np.float64]:
    """Cut a polygon at ±limit, side by side (Sutherland and Hodgman)."""
    if not np.isfinite(points).all():
        raise ValueError("a polygon needs finite numbers")
    for axis, sign in ((0, 1.0), (0, -1.0), (1, 1.0), (1, -1.0)):
        ahead = np.roll(points, -1, axis=0)
        inside, ahead_inside = points[:, axis] * sign <= limit, ahead[:, axis] * sign <= limit
        crossing = inside != ahead_inside
        run = np.where(crossing, ahead[:, axis] - points[:, axis], 1.0)
        share = np.where(crossing, (sign * limit - points[:, axis]) / run, 0.0)
        cut = points + share[:, None] * (ahead - points)
        cut[:, axis] = sign * limit
        both = np.stack((points, cut), axis=1).reshape(-1, 2)
        points = both[np.stack((inside, crossing), axis=1).reshape(-1)]
        if not points.size:
            return np.full((3, 2), -1.0)
    return points if len(points) >= 3 else np.repeat(points[:1], 3, axis=0)


# Corners of the outline by the four pixels around them: bits north-west 1, north-east 2,
# south-west 4, south-east 8. For each: does its horizontal edge go east, its vertical edge south?
_TURNS = np.array(
    [-1, 0, 2, -1, 1, -1, 4, 3, 3, 5, -1, 1, -1, 2, 0, -1],
    dtype=np.int8,
)  # 0: west, north; 1: west, south; 2: east, north; 3: east, south; 4 and 5: two corners at once


def _corners(window: Mask) -> tuple[Ring, NDArray[np.intp], NDArray[np.intp]]:
    """Corners of the outline, (N, 2) xy, and each one's partner along its row and its column.

    Where pixels meet by their corner, two corners of the outline lie on one spot; they are taken
    so that the pixels stay together.
    """
    around = np.pad(window, 1).view(np.uint8)
    code = around[:-1, :-1] + 2 * around[:-1, 1:] + 4 * around[1:, :-1] + 8 * around[1:, 1:]
    turn = _TURNS[code]
    y, x = np.nonzero(turn >= 0)
    kind = turn[y, x]
    double = kind >= 4
    if double.any():
        repeats = 1 + double
        second = np.cumsum(repeats)[double] - 1
        y, x, kind = np.repeat(y, repeats), np.repeat(x, repeats), np.repeat(kind, repeats)
        # Code 6 (north-east, south-west): west with north, then east with south.
        # Code 9 (north-west, south-east): west with south, then east with north.
        kinds = kind[second]
        kind[second - 1] = np.where(kinds == 4, 0, 1)
        kind[second] = np.where(kinds == 4, 3, 2)
    east, south = kind >= 2, kind % 2 == 1
    by_row = np.lexsort((east, x, y)) if double.any() else np.arange(x.size)
    by_column = np.lexsort((south, y, x))
    return (
        np.stack((x, y), axis=1).astype(np.int32),
        _partners(by_row),
        _partners(by_column),
    )


def _partners(order: NDArray[np.intp]) -> NDArray[np.intp]:
    partner = np.empty_like(order)
    partner[order[0::2]] = order[1::2]
    partner[order[1::2]] = order[0::2]
    return partner


def _loops(horizontal: NDArray[np.intp], vertical: NDArray[np.intp]) -> Iterator[list[int]]:
    """Walk along rows and columns by turns until each loop closes."""
    along_row, along_column = horizontal.tolist(), vertical.tolist()
    seen = bytearray(len(along_row))
    for first in range(len(along_row)):
        if seen[first]:
            continue
        loop: list[int] = []
        here = first
        while True:
            there = along_row[here]
            seen[here] = seen[there] = 1
            loop += (here, there)
            here = along_column[there]
            if here == first:
                break
        yield loop


def _owners(window: Mask, outers: Sequence[Ring], holes: Sequence[Ring]) -> list[int]:
    """Which outer ring each hole lies in: the piece of the mask above the hole's first corner."""
    if len(outers) == 1:
        return [0] * len(holes)
    _, labels = cv2.connectedComponents(window.view(np.uint8), connectivity=8)
    index = {int(labels[ring[0, 1], ring[0, 0]]): i for i, ring in enumerate(outers)}
    return [index[int(labels[ring[0, 1] - 1, ring[0, 0]])] for ring in holes]


def _joined_holes(part: PolygonPart) -> Ring:
    """The outline with every hole joined by a cut straight up from the hole's first corner."""
    if not part.holes:
        return part.outer
    rings = (part.outer, *part.holes)
    points = np.concatenate(rings)
    sizes = np.array([len(ring) for ring in rings])
    firsts = np.concatenate(([0], np.cumsum(sizes)[:-1]))
    ahead = np.arange(1, len(points) + 1)
    ahead[firsts + sizes - 1] = firsts
    flat = np.flatnonzero(points[:, 1] == points[ahead, 1])
    left = np.minimum(points[flat, 0], points[ahead[flat], 0])
    right = np.maximum(points[flat, 0], points[ahead[flat], 0])
    level = points[flat, 1]
    cuts: dict[int, list[tuple[int, int]]] = {}
    for hole, first in enumerate(firsts[1:]):
        x, y = points[first]
        above = np.flatnonzero((left <= x) & (x <= right) & (level < y))
        edge = int(flat[above[level[above].argmax()]])
        cuts.setdefault(edge, []).append((int(x), hole))
    return _splice(points, ahead, firsts[1:], firsts[1:] + sizes[1:] - 1, cuts)


def _splice(
    points: Ring,
    ahead: NDArray[np.intp],
    firsts: NDArray[np.intp],
    lasts: NDArray[np.intp],
    cuts: dict[int, list[tuple[int, int]]],
) -> Ring:
    """Walk the outline from point 0, with a detour along each cut and once round its hole.

    ahead: the next point of each point's ring.
    firsts, lasts: each hole's first and last point.
    cuts: point at which an edge starts -> (x where the cut leaves that edge, hole at its end).
    """
    nodes = points.tolist()
    following = ahead.tolist()
    # Each hole ends in a second copy of its first point, from where the cut is walked back.
    for first, last in zip(firsts.tolist(), lasts.tolist(), strict=True):
        following[last] = len(nodes)
        nodes.append(nodes[first])
        following.append(-1)
    for start, leaving in cuts.items():
        here, end = start, following[start]
        leaving.sort(reverse=nodes[end][0] < nodes[start][0])
        for x, hole in leaving:
            down, up = len(nodes), len(nodes) + 1
            nodes += [[x, nodes[start][1]]] * 2
            following += [int(firsts[hole]), -1]
            following[here] = down
            following[len(points) + hole] = here = up
        following[here] = end
    walk = [0]
    while (there := following[walk[-1]]) != 0:
        walk.append(there)
    return np.array([nodes[index] for index in walk], dtype=np.int32)
