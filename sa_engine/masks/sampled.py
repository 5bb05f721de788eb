"""A mask looked at in another size, straight from its runs: a large one is never decoded."""

import numpy as np
from numpy.typing import NDArray

from sa_engine.masks.rle import Mask, Rle, runs


def sample(rle: Rle, size_hw: tuple[int, int]) -> Mask:
    """The mask at `size_hw`, (h, w) bool: each pixel has the value under its centre.

    The memory is that of the result, whatever size the mask has. Raises ValueError as `runs` does.
    """
    found: Mask = np.zeros(size_hw, dtype=np.bool_)
    window, (x, y) = sample_window(rle, size_hw)
    found[y : y + window.shape[0], x : x + window.shape[1]] = window
    return found


def sample_window(rle: Rle, size_hw: tuple[int, int]) -> tuple[Mask, tuple[int, int]]:
    """What of `sample` has its centre in the mask's box: (h, w) bool, and the top left's (x, y).

    An empty mask gives a (0, 0) window at (0, 0). Raises ValueError as `runs` does.
    """
    height, width = size_hw
    full_height, full_width = rle.size_hw
    edges = np.cumsum(runs(rle))
    starts, stops = edges[0:-1:2], edges[1::2]
    filled = stops > starts
    starts, stops = starts[filled], stops[filled]
    if not starts.size:
        return np.zeros((0, 0), dtype=np.bool_), (0, 0)
    columns, rows = centres(width, full_width), centres(height, full_height)
    x0, x1 = int(starts[0]) // full_height, (int(stops[-1]) - 1) // full_height
    left, right = (int(i) for i in np.searchsorted(columns, [x0, x1 + 1]))
    top, bottom = 0, height
    if (starts // full_height == (stops - 1) // full_height).all():
        y0, y1 = int((starts % full_height).min()), int(((stops - 1) % full_height).max())
        top, bottom = (int(i) for i in np.searchsorted(rows, [y0, y1 + 1]))
    # In an enlarged mask a pixel lies under several centres.
    seen_columns, of_column = np.unique(columns[left:right], return_inverse=True)
    seen_rows, of_row = np.unique(rows[top:bottom], return_inverse=True)
    pixels = (seen_columns[:, None] * full_height + seen_rows[None]).ravel()
    flips = np.zeros(pixels.size + 1, dtype=np.uint8)
    np.add.at(flips, np.searchsorted(pixels, edges), 1)
    inside = (np.cumsum(flips[:-1], dtype=np.uint8) & 1).reshape(len(seen_columns), len(seen_rows))
    window: Mask = inside.view(np.bool_)
    if len(seen_columns) < right - left or len(seen_rows) < bottom - top:
        window = window[np.ix_(of_column, of_row)]
    return window.T, (left, top)


def centres(count: int, full: int) -> NDArray[np.int64]:
    """Of `count` pixels that share a side of `full` pixels: the full pixel under each centre."""
    return ((2 * np.arange(count, dtype=np.int64) + 1) * full) // (2 * count)
