"""A mask in another size has, under each pixel's centre, the value of the decoded mask."""

import numpy as np
import pytest

from sa_engine.masks.rle import decode, encode, from_runs
from sa_engine.masks.sampled import sample


def test_half_the_size_by_hand() -> None:
    mask = np.zeros((4, 6), dtype=bool)
    mask[1:3, 3:6] = True
    # Rows 1 and 3, columns 1, 3 and 5 lie under the centres.
    assert sample(encode(mask), (2, 3)).tolist() == [[False, True, True], [False, False, False]]


@pytest.mark.parametrize("size_hw", [(37, 53), (20, 53), (7, 5), (1, 1), (90, 120)])
def test_equals_picking_pixels_of_the_decoded_mask(size_hw: tuple[int, int]) -> None:
    rng = np.random.default_rng(3)
    for density in (0.02, 0.5, 0.98, 0.0, 1.0):
        mask = rng.random((37, 53)) < density
        coded = encode(mask)
        rows = ((np.arange(size_hw[0]) + 0.5) * 37 / size_hw[0]).astype(int)
        columns = ((np.arange(size_hw[1]) + 0.5) * 53 / size_hw[1]).astype(int)
        assert (sample(coded, size_hw) == decode(coded)[np.ix_(rows, columns)]).all()


def test_a_run_over_several_columns() -> None:
    # 2 background, 9 foreground, 1 background in a mask 4 high and 3 wide.
    coded = from_runs([2, 9, 1], (4, 3))
    assert (sample(coded, (4, 3)) == decode(coded)).all()


def test_nothing_of_nothing() -> None:
    assert not sample(encode(np.zeros((5, 5), dtype=bool)), (3, 3)).any()
    assert sample(encode(np.ones((5, 5), dtype=bool)), (0, 3)).shape == (0, 3)
