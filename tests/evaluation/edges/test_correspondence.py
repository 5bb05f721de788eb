"""Small cases of BSDS500's correspondence, and the same cost as a dense solver's."""

import numpy as np
import pytest

from sa_engine.evaluation.edges.correspondence import OUTLIER_COST, _candidates, correspond
from tests.support.drawing import grid

pytest.importorskip("scipy")
SIZE_HW = (60, 80)
"""A diagonal of 100 pixels."""


def lines(*columns: int) -> np.ndarray:
    mask = np.zeros(SIZE_HW, dtype=bool)
    mask[10:50, list(columns)] = True
    return mask


def counts(first: np.ndarray, second: np.ndarray, pixels: float) -> tuple[int, int]:
    ours, theirs = correspond(first, second, max_distance=pixels / 100)
    assert not (ours & ~first).any() and not (theirs & ~second).any()
    return int(ours.sum()), int(theirs.sum())


def test_within_reach_and_beyond() -> None:
    assert counts(lines(30), lines(32), 2) == (40, 40)
    # The limit is inclusive; a little less is out of reach.
    assert counts(lines(30), lines(32), 1.99) == (0, 0)
    assert counts(lines(30), lines(), 5) == (0, 0)


def test_one_to_one() -> None:
    # Two lines beside one: each of its pixels is matched once, and to the nearer line.
    ours, theirs = correspond(lines(28, 31), lines(30), max_distance=0.03)
    assert (int(ours.sum()), int(theirs.sum())) == (40, 40)
    assert set(np.nonzero(ours)[1].tolist()) == {31}


def test_more_matches_go_before_near_ones() -> None:
    # The left one reaches both of theirs, the right one only the nearer: the left one yields.
    first, second = np.zeros(SIZE_HW, dtype=bool), np.zeros(SIZE_HW, dtype=bool)
    first[20, 20] = first[20, 24] = True
    second[20, 17] = second[20, 21] = True
    assert counts(first, second, 3) == (2, 2)


def test_the_cost_is_that_of_a_dense_solver() -> None:
    from scipy.optimize import linear_sum_assignment

    rng = np.random.default_rng(4)
    for density in (0.02, 0.08, 0.2):
        first, second = rng.random((2, 40, 50)) < density
        reach = 0.05 * float(np.hypot(40, 50))
        ours, theirs = correspond(first, second, max_distance=0.05)
        f, s, d = _candidates(first, second, reach)
        cost = np.zeros((2000, 2000))
        cost[f, s] = d - 2 * OUTLIER_COST * reach
        rows, columns = linear_sum_assignment(cost)
        real = cost[rows, columns] < 0
        assert int(real.sum()) == int(ours.sum()) == int(theirs.sum())
        # The chosen pixels can be matched at the very cost of the cheapest assignment.
        chosen = np.zeros((2000, 2000))
        both = ours.ravel()[f] & theirs.ravel()[s]
        chosen[f[both], s[both]] = d[both] - 2 * OUTLIER_COST * reach
        again = linear_sum_assignment(chosen)
        assert chosen[again].sum() == pytest.approx(cost[rows, columns].sum())


def test_order_in_memory_does_not_matter() -> None:
    first = np.asfortranarray(grid("....", ".##.", "...."))
    ours, _ = correspond(first, grid("....", ".##.", "...."), max_distance=0.1)
    assert (ours == first).all()
