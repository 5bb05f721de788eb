"""Foreign shapes to masks: what can be repaired is, and anything else has a named reason.

Every function takes JSON values that nobody has checked.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sa_engine.formats.base import Box
from sa_engine.formats.reasons import Loss, Repair
from sa_engine.masks.polygons import from_many_polygons, from_polygons
from sa_engine.masks.rle import Rle, area, encode_window, from_runs, unpack

Rings = list[NDArray[np.float64]]
Mended = tuple[Rle, tuple[Repair, ...]]
"""A mask, and what was repaired about it."""

BEYOND = 1.0
"""Pixels that a point may lie outside the image before its polygon counts as clipped: tools put
points on the border and round."""

FARTHEST = 1e7
"""Pixels from the image's corner at which a number stops being a coordinate."""

_CURVE_STEPS = 360


@dataclass(frozen=True, slots=True)
class Shape:
    """Rings of one mask that is yet to be filled, and what was repaired about them."""

    rings: Rings
    repairs: tuple[Repair, ...] = ()


def polygon(value: object, size_hw: tuple[int, int]) -> Shape | Loss:
    """Rings from a list of flat x, y, x, y, … lists, as COCO has them."""
    if not isinstance(value, list):
        return Loss.BAD_POLYGON
    repairs: set[Repair] = set()
    if value and isinstance(value[0], int | float):
        value = [value]
        repairs.add(Repair.FLAT_POLYGON)
    rings: Rings = []
    for given in value:
        ring, low, high = _ring(given)
        if ring is None:
            repairs.add(Repair.RING_LEFT_OUT)
            continue
        if ring.ndim == 2:
            ring = ring.reshape(-1)
            repairs.add(Repair.FLAT_POLYGON)
        rings.append(ring)
        if _leaves(ring, low, high, size_hw):
            repairs.add(Repair.CLIPPED)
    if not rings:
        return Loss.BAD_POLYGON if value else Loss.EMPTY
    return Shape(rings, tuple(sorted(repairs)))


def ring_of_points(value: object, size_hw: tuple[int, int]) -> Shape | Loss:
    """One ring from a list of [x, y] points."""
    if not isinstance(value, list | np.ndarray):
        return Loss.BAD_POLYGON
    ring, low, high = _ring(value)
    if ring is None or ring.ndim != 2:
        return Loss.BAD_POLYGON
    flat = ring.reshape(-1)
    return Shape([flat], (Repair.CLIPPED,) if _leaves(flat, low, high, size_hw) else ())


def fill(shapes: Sequence[Shape], size_hw: tuple[int, int]) -> list[Rle | Loss]:
    """Fill the shapes of one image; a shape without a pixel is a loss."""
    try:
        masks = from_many_polygons([shape.rings for shape in shapes], size_hw)
    except ValueError:
        # One of them is beyond the rasteriser; find out which.
        return [_fill_one(shape, size_hw) for shape in shapes]
    return [mask if not _is_empty(mask) else Loss.EMPTY for mask in masks]


def ellipse(
    center_xy: Sequence[float],
    radii_xy: Sequence[float],
    *,
    degrees: float,
    size_hw: tuple[int, int],
) -> Shape | Loss:
    """An ellipse, turned clockwise on the screen by `degrees`."""
    steps = np.arange(_CURVE_STEPS) * (2 * math.pi / _CURVE_STEPS)
    unit = np.stack((np.cos(steps), np.sin(steps)), axis=1)
    return _turned(unit, center_xy, radii_xy, degrees, size_hw)


def rotated_box(
    center_xy: Sequence[float],
    sides_xy: Sequence[float],
    *,
    degrees: float,
    size_hw: tuple[int, int],
) -> Shape | Loss:
    """A rectangle, turned clockwise on the screen by `degrees` around its centre."""
    unit = np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]])
    return _turned(unit, center_xy, sides_xy, degrees, size_hw)


def box(xywh: Sequence[Any]) -> Box | None:
    """A box with finite numbers and an area; None if it is not one."""
    try:
        x, y, width, height = (float(value) for value in xywh)
    except (TypeError, ValueError, OverflowError):
        return None
    if not all(map(math.isfinite, (x, y, width, height))) or width <= 0 or height <= 0:
        return None
    return x, y, width, height


def foreign_rle(value: Mapping[str, Any], size_hw: tuple[int, int]) -> Mended | Loss:
    """A COCO RLE in any spelling: counts compressed, as a list, or as Python bytes.

    A compressed string that is sound is kept as it is.
    """
    size = value.get("size")
    if size is not None:
        if not isinstance(size, list) or len(size) != 2 or not all(map(is_whole, size)):
            return Loss.BAD_RLE
        if tuple(size) != size_hw:
            return Loss.RLE_SIZE
    counts = value.get("counts")
    repairs: list[Repair] = []
    if isinstance(counts, bytes):
        counts = counts.decode("ascii", "replace")
    if isinstance(counts, str):
        if counts[:2] in ("b'", 'b"') and counts[-1:] == counts[1]:
            counts = counts[2:-1].replace("\\\\", "\\")
            repairs.append(Repair.BYTES_AS_TEXT)
        try:
            runs = unpack(counts)
        except ValueError:
            return Loss.BAD_RLE
    elif isinstance(counts, list):
        if not all(map(is_whole, counts)):
            return Loss.BAD_RLE
        try:
            runs = np.array(counts, dtype=np.int64)
        except OverflowError:
            return Loss.BAD_RLE
    else:
        return Loss.BAD_RLE
    return _checked(runs, counts, size_hw, repairs)


def is_whole(value: object) -> bool:
    """Whether a JSON value is a whole number (2.0 is, true is not)."""
    if isinstance(value, bool):
        return False
    return isinstance(value, int) or (isinstance(value, float) and value.is_integer())


def row_major_patch(
    counts: NDArray[np.int64], patch_hw: tuple[int, int]
) -> NDArray[np.bool_] | None:
    """A (h, w) patch from row-major run lengths, background first; None if they do not fit it."""
    height, width = patch_hw
    if height <= 0 or width <= 0 or (counts < 0).any() or int(counts.sum()) != height * width:
        return None
    return np.repeat(np.arange(counts.size) % 2 == 1, counts).reshape(height, width)


def place(
    patch: NDArray[Any], origin_xy: tuple[int, int], size_hw: tuple[int, int]
) -> Mended | Loss:
    """A mask patch put into the image at its top left pixel; what lies outside is cut off."""
    height, width = size_hw
    x, y = origin_xy
    inside = patch[max(0, -y) : max(0, height - y), max(0, -x) : max(0, width - x)]
    if not inside.any():
        return Loss.EMPTY
    clipped = np.count_nonzero(inside) != np.count_nonzero(patch)
    mask = encode_window(inside, origin_xy=(max(0, x), max(0, y)), size_hw=size_hw)
    return mask, (Repair.CLIPPED,) if clipped else ()


def join(parts: Iterable[Shape]) -> Shape:
    """Shapes that are one object: the union of their rings."""
    rings: Rings = []
    repairs: set[Repair] = set()
    for part in parts:
        rings += part.rings
        repairs.update(part.repairs)
    return Shape(rings, tuple(sorted(repairs)))


def _ring(value: object) -> tuple[NDArray[np.float64] | None, float, float]:
    """Flat or (N, 2), finite, with three points or more, and its least and greatest coordinate.

    None for anything else.
    """
    try:
        ring = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        return None, 0.0, 0.0
    if ring.size < 6 or not (ring.ndim == 1 or (ring.ndim == 2 and ring.shape[1] == 2)):
        return None, 0.0, 0.0
    low, high = ring.min(), ring.max()
    # Also false for NaN.
    if ring.size % 2 or not (low >= -FARTHEST and high <= FARTHEST):
        return None, 0.0, 0.0
    return ring, low, high


def _leaves(ring: NDArray[np.float64], low: float, high: float, size_hw: tuple[int, int]) -> bool:
    height, width = size_hw
    if low < -BEYOND:
        return True
    if high <= min(height, width) + BEYOND:
        return False
    return bool(ring[0::2].max() > width + BEYOND or ring[1::2].max() > height + BEYOND)


def _turned(
    unit: NDArray[np.float64],
    center_xy: Sequence[float],
    scale_xy: Sequence[float],
    degrees: float,
    size_hw: tuple[int, int],
) -> Shape | Loss:
    numbers = [*center_xy, *scale_xy, degrees]
    if not all(map(math.isfinite, numbers)) or min(scale_xy) <= 0:
        return Loss.BAD_SHAPE
    angle = math.radians(degrees)
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    points = unit * np.asarray(scale_xy) @ turn + np.asarray(center_xy)
    return ring_of_points(points, size_hw)


def _fill_one(shape: Shape, size_hw: tuple[int, int]) -> Rle | Loss:
    try:
        mask = from_polygons(shape.rings, size_hw)
    except ValueError:
        return Loss.BAD_POLYGON
    return Loss.EMPTY if _is_empty(mask) else mask


def _is_empty(mask: Rle) -> bool:
    # One run is all background; a mask with a pixel has two runs or more.
    return len(mask.counts) < 8 and area(mask) == 0


def _checked(
    runs: NDArray[np.int64],
    counts: str | list[Any],
    size_hw: tuple[int, int],
    repairs: list[Repair],
) -> Mended | Loss:
    height, width = size_hw
    total = height * width
    # Each alone first, so that the sum cannot overflow.
    if runs.size == 0 or runs.min() < 0 or runs.max() > total:
        return Loss.BAD_RLE
    missing = total - int(runs.sum())
    if missing < 0:
        return Loss.BAD_RLE
    if not runs[1::2].any():
        return Loss.EMPTY
    if missing:
        runs = (
            np.append(runs, missing)
            if runs.size % 2 == 0
            else np.append(runs[:-1], runs[-1] + missing)
        )
        repairs.append(Repair.RUNS_PADDED)
    elif isinstance(counts, str) and runs[1:].all():
        return Rle(size_hw, counts), tuple(repairs)
    return from_runs(_canonical(runs).tolist(), size_hw), tuple(repairs)


def _canonical(runs: NDArray[np.int64]) -> NDArray[np.int64]:
    """The same runs without empty ones between."""
    edges = np.cumsum(runs)
    starts, stops = edges[0:-1:2], edges[1::2]
    filled = stops > starts
    starts, stops = starts[filled], stops[filled]
    apart = starts[1:] > stops[:-1]
    starts, stops = starts[np.append(True, apart)], stops[np.append(apart, True)]
    bounds = np.stack((starts, stops), axis=1).reshape(-1)
    last = [edges[-1]] if edges[-1] > bounds[-1] else []
    return np.diff(np.concatenate(([0], bounds, last))).astype(np.int64)
