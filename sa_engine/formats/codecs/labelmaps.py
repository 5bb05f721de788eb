"""Label maps, one number per pixel, as one mask per number."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sa_engine.masks.rle import Rle, from_runs


def split(labels_HW: NDArray[Any]) -> Iterator[tuple[int, Rle]]:
    """(label, mask) for every label but 0, by rising label.

    labels_HW: whole numbers. One pass over the pixels, however many labels there are.
    """
    height, width = labels_HW.shape
    columns = np.asarray(labels_HW).T.reshape(-1)
    if not columns.size:
        return
    starts = np.flatnonzero(np.concatenate(([True], columns[1:] != columns[:-1])))
    stops = np.append(starts[1:], columns.size)
    values = columns[starts]
    order = np.argsort(values, kind="stable")
    bounds = np.flatnonzero(np.diff(values[order])) + 1
    for group in np.split(order, bounds):
        label = int(values[group[0]])
        if label == 0:
            continue
        edges = np.zeros(2 * group.size + 1, dtype=np.int64)
        edges[1::2], edges[2::2] = starts[group], stops[group]
        runs = np.diff(edges)
        missing = columns.size - int(edges[-1])
        counts = [*runs.tolist(), missing] if missing else runs.tolist()
        yield label, from_runs(counts, (height, width))
