"""A mask in another size has, under each pixel's centre, the value of the decoded mask."""

import numpy as np
import pytest

from sa_engine.masks.rle import bbox_xywh, decode, encode, from_runs
from sa_engine.masks.sampled import centres, sample, sample_window

SIZES_HW = [(37, 53), (20, 53), (37, 120), (90, 53), (7, 5), (1, 1), (90, 120)]


def test_half_the_size_by_hand() -> None:
    mask = np.zeros((4, 6), dtype=bool)
    mask[1:3, 3:6] = True
    # Rows 1 and 3, columns 1, 3 and 5 lie under the centres.
    assert sample(encode(mask), (2, 3)).tolist() == [[False, True, True], [False, False, False]]


@pytest.mark.parametrize("size_hw", SIZES_HW)
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


@pytest.mark.parametrize("size_hw", SIZES_HW)
def test_a_window_is_what_lies_under_centres_in_the_masks_box(size_hw: tuple[int, int]) -> None:
    rng = np.random.default_rng(8)
    for _ in range(60):
        mask = np.zeros((37, 53), dtype=bool)
        (y0, y1), (x0, x1) = np.sort(rng.integers(0, 38, 2)), np.sort(rng.integers(0, 54, 2))
        mask[y0:y1, x0:x1] = rng.random((y1 - y0, x1 - x0)) < rng.choice([0.3, 1.0])
        coded = encode(mask)
        x, y, w, h = bbox_xywh(coded)
        rows, columns = centres(size_hw[0], 37), centres(size_hw[1], 53)
        inner_rows = np.flatnonzero((rows >= y) & (rows < y + h))
        inner_columns = np.flatnonzero((columns >= x) & (columns < x + w))
        window, origin_xy = sample_window(coded, size_hw)
        assert np.array_equal(window, mask[np.ix_(rows[inner_rows], columns[inner_columns])])
        if window.size:
            assert origin_xy == (inner_columns[0], inner_rows[0])


def test_nothing_of_nothing() -> None:
    assert sample_window(encode(np.zeros((5, 5), dtype=bool)), (3, 3))[1] == (0, 0)
    assert not sample(encode(np.zeros((5, 5), dtype=bool)), (3, 3)).any()
    assert sample(encode(np.ones((5, 5), dtype=bool)), (0, 3)).shape == (0, 3)
    assert sample(encode(np.ones((5, 5), dtype=bool)), (3, 0)).shape == (3, 0)
