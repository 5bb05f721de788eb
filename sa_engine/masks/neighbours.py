"""A grid over boxes that finds, for some of them, all others that may overlap them strongly.

If the IoU of two boxes exceeds t, their widths differ by less than a factor 1/t, and so do their
heights, and their centres lie no further apart than (1 - t) of the greater side, along each axis.
So boxes are sorted by width class, height class, and the cell of their centre; a box then has to
look into neighbouring classes and cells only.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

_FINEST = 2.0**-20
"""Sides under this share of the whole extent count as this long: it bounds the number of cells."""
_WEAK = 0.1
"""Below this threshold nearly every overlap counts, few boxes survive, and no class helps."""
_PAIRS_AT_A_TIME = 1 << 20
_SLACK = 1.001
"""Room for float32 rounding in widths and centres."""


class NearbyBoxes:
    """Boxes sorted so that strong overlaps are found without looking at all pairs."""

    def __init__(self, boxes_xyxy: NDArray[Any], iou_threshold: float) -> None:
        """Sort (N, 4) boxes for an IoU threshold in [0, 1]."""
        boxes = np.asarray(boxes_xyxy, dtype=np.float64)
        sides = boxes[:, 2:] - boxes[:, :2]
        self._centres = (boxes[:, 2:] + boxes[:, :2]) / 2
        # A box without area overlaps nothing.
        self._members = np.flatnonzero((sides > 0).all(axis=1))
        self._threshold = iou_threshold
        if not self._members.size:
            return
        centres = self._centres[self._members]
        self._origin = centres.min(axis=0)
        extent = max(float(np.ptp(centres, axis=0).max()), float(sides[self._members].max()))
        all_near = iou_threshold < _WEAK
        self._sides = np.maximum(sides, extent * (1.0 if all_near else _FINEST))
        self._base = 2.0 if all_near else max(2.0, _SLACK / iou_threshold)
        levels = np.floor(np.log(self._sides) / np.log(self._base)).astype(np.int64)
        self._lowest = levels[self._members].min(axis=0)
        self._levels = levels - self._lowest
        self._top = self._levels[self._members].max(axis=0)
        smallest_cell = self._base ** (self._lowest + 1.0)
        self._num_cells = (np.ptp(centres, axis=0) // smallest_cell).astype(np.int64) + 1
        cells = self._cell(centres, self._levels[self._members])
        keys = self._key(self._levels[self._members], cells[:, 1], cells[:, 0])
        by_key = np.argsort(keys, kind="stable")
        self._keys, self._members = keys[by_key], self._members[by_key]

    def pairs(
        self, indices: NDArray[np.int64]
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Every pair (one of `indices`, any box) that may exceed the threshold, in bounded pieces.

        Some pairs that stay below it are among them, and each box with itself.
        """
        if not self._members.size:
            return
        indices = indices[(self._sides[indices] > 0).all(axis=1)]
        firsts: list[NDArray[np.int64]] = []
        starts: list[NDArray[np.int64]] = []
        counts: list[NDArray[np.int64]] = []
        for step_w in (-1, 0, 1):
            for step_h in (-1, 0, 1):
                self._look(indices, np.array([step_w, step_h]), firsts, starts, counts)
        if not firsts:
            return
        first, start, count = np.concatenate(firsts), np.concatenate(starts), np.concatenate(counts)
        piece = np.cumsum(count) // _PAIRS_AT_A_TIME
        for number in np.unique(piece):
            rows = piece == number
            length = count[rows]
            position = np.arange(length.sum()) - np.repeat(np.cumsum(length) - length, length)
            second = self._members[position + np.repeat(start[rows], length)]
            yield np.repeat(first[rows], length), second

    def _look(
        self,
        indices: NDArray[np.int64],
        step: NDArray[np.int64],
        firsts: list[NDArray[np.int64]],
        starts: list[NDArray[np.int64]],
        counts: list[NDArray[np.int64]],
    ) -> None:
        """Find the runs of sorted boxes, one size class away by `step`, that are near enough."""
        levels = self._levels[indices] + step
        exists = ((levels >= 0) & (levels <= self._top)).all(axis=1)
        indices, levels = indices[exists], levels[exists]
        if not indices.size:
            return
        longest = np.maximum(self._sides[indices], self._base ** (levels + self._lowest + 1.0))
        reach = (1 - self._threshold) * longest * _SLACK
        first_cell = self._cell(self._centres[indices] - reach, levels)
        last_cell = self._cell(self._centres[indices] + reach, levels)
        for row in range(int((last_cell - first_cell)[:, 1].max()) + 1):
            y = first_cell[:, 1] + row
            here = y <= last_cell[:, 1]
            begin = self._key(levels[here], y[here], first_cell[here, 0])
            end = self._key(levels[here], y[here], last_cell[here, 0])
            start = np.searchsorted(self._keys, begin, side="left")
            count = np.searchsorted(self._keys, end, side="right") - start
            found = count > 0
            firsts.append(indices[here][found])
            starts.append(start[found])
            counts.append(count[found])

    def _cell(self, points_xy: NDArray[np.float64], levels: NDArray[np.int64]) -> NDArray[np.int64]:
        """Cells of points in the grids of (width, height) classes, kept inside the extent."""
        size = self._base ** (levels + self._lowest + 1.0)
        cell = np.floor((points_xy - self._origin) / size)
        inside: NDArray[np.int64] = np.clip(cell, 0, self._num_cells - 1).astype(np.int64)
        return inside

    def _key(
        self, levels: NDArray[np.int64], y: NDArray[np.int64], x: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        size_class = levels[:, 0] * (self._top[1] + 1) + levels[:, 1]
        key: NDArray[np.int64] = (size_class * self._num_cells[1] + y) * self._num_cells[0] + x
        return key
