"""Which pixels of a detected edge map are a drawn boundary's, matched one to one.

Source: BSDS500 benchmark, `correspondPixels`: pixels no further apart than 0.0075 of the image's
diagonal may be matched; the assignment costs the distances, and 100 times the largest distance for
each pixel without a partner. The benchmark joins its graph with a few random outlier nodes and an
approximate solver in whole numbers; here the same cost is minimised exactly.
"""

import importlib.util

import numpy as np
from numpy.typing import NDArray

from sa_engine.errors import UsageError
from sa_engine.masks.rle import Mask

MAX_DISTANCE = 0.0075
"""Of the image's diagonal."""
OUTLIER_COST = 100.0
"""Of the largest distance."""


def require_solver() -> None:
    """Raise UsageError where scipy is missing, which solves the assignment."""
    if importlib.util.find_spec("scipy") is None:
        raise UsageError("edges are matched by scipy: pip install 'sa-engine[edges]'")


def correspond(
    first: Mask, second: Mask, *, max_distance: float = MAX_DISTANCE
) -> tuple[Mask, Mask]:
    """The pixels of two (H, W) edge maps that have a partner in the other: two (H, W) bool.

    max_distance: as a share of the diagonal.
    """
    height, width = first.shape
    reach = max_distance * float(np.hypot(height, width))
    firsts, seconds, distances = _candidates(first, second, reach)
    matched = np.zeros(first.shape, np.bool_), np.zeros(second.shape, np.bool_)
    if not firsts.size:
        return matched
    rows, first_of = np.unique(firsts, return_inverse=True)
    columns, second_of = np.unique(seconds, return_inverse=True)
    pairs = _assign(first_of, second_of, distances, OUTLIER_COST * reach)
    matched[0].ravel()[rows[pairs[0]]] = True
    matched[1].ravel()[columns[pairs[1]]] = True
    return matched


def _candidates(
    first: Mask, second: Mask, reach: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Every pair of pixels within reach: flat index in each map, and their distance."""
    width = first.shape[1]
    around = int(np.ceil(reach))
    firsts, seconds, distances = [], [], []
    ys, xs = np.nonzero(first)
    padded = np.pad(second, around)
    for dy in range(-around, around + 1):
        for dx in range(-around, around + 1):
            distance = float(np.hypot(dy, dx))
            if distance > reach:
                continue
            near = padded[ys + dy + around, xs + dx + around]
            firsts.append((ys * width + xs)[near])
            seconds.append(((ys + dy) * width + xs + dx)[near])
            distances.append(np.full(int(near.sum()), distance))
    return np.concatenate(firsts), np.concatenate(seconds), np.concatenate(distances)


def _assign(
    first_of: NDArray[np.int64],
    second_of: NDArray[np.int64],
    distances: NDArray[np.float64],
    outlier: float,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The cheapest assignment where nodes may stay alone, each for `outlier`; the matched pairs.

    A match saves two outliers. Each node of the first side has a shadow to go to when it stays
    alone, so that every assignment of that side is complete; a constant on all edges, which the
    solver needs to tell them from no edge, changes nothing.
    """
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import min_weight_full_bipartite_matching

    n, m = int(first_of.max()) + 1, int(second_of.max()) + 1
    alone = np.arange(n)
    costs = np.concatenate([distances, np.full(n, 2 * outlier)]) + 1
    edges = np.concatenate([first_of, alone]), np.concatenate([second_of, m + alone])
    left, right = min_weight_full_bipartite_matching(csr_matrix((costs, edges), shape=(n, m + n)))
    real = right < m
    return left[real], right[real]
