import numpy as np
import pytest
from numpy.typing import NDArray

from sa_engine.masks import rle as run_lengths
from sa_engine.masks.regions import SmallMasks, clean, drop_specks, fill_holes


def mask_of(text: str) -> NDArray[np.bool_]:
    return np.array([[c == "#" for c in line] for line in text.split()])


def test_small_holes_are_filled_and_large_ones_stay() -> None:
    mask = mask_of("""
        #########
        #.##....#
        ####....#
        #########
    """)
    filled, changed = fill_holes(mask, 2)
    assert changed
    np.testing.assert_array_equal(
        filled,
        mask_of("""
        #########
        ####....#
        ####....#
        #########
    """),
    )


def test_background_at_the_border_is_a_hole_too() -> None:
    filled, changed = fill_holes(mask_of(".### ####"), 2)
    assert changed
    assert filled.all()


def test_diagonal_pixels_belong_together() -> None:
    mask = mask_of("#... .#.. ..#.")
    kept, changed = drop_specks(mask, 3)
    assert not changed
    np.testing.assert_array_equal(kept, mask)


def test_specks_go_and_an_area_equal_to_the_limit_stays() -> None:
    mask, expected = mask_of("##..# ##..# ....#"), mask_of("##... ##... .....")
    for step in (1, -1):  # the speck comes after the piece, or before it
        kept, changed = drop_specks(mask[:, ::step], 4)
        assert changed
        np.testing.assert_array_equal(kept, expected[:, ::step])


def test_the_largest_piece_stays_when_all_are_small() -> None:
    kept, changed = drop_specks(mask_of("#.##.##"), 100)
    assert changed
    np.testing.assert_array_equal(kept, mask_of("..##..."))


def test_a_mask_that_fills_the_image_and_an_empty_one_stay() -> None:
    for mask in (np.ones((3, 4), dtype=np.bool_), np.zeros((3, 4), dtype=np.bool_)):
        for rule in (fill_holes, drop_specks):
            result, changed = rule(mask, 1)
            assert not changed
            np.testing.assert_array_equal(result, mask)


def whole_image_rule(mask: NDArray[np.bool_], min_area: float) -> tuple[NDArray[np.bool_], bool]:
    filled, holes = fill_holes(mask, min_area)
    kept, specks = drop_specks(filled, min_area)
    return kept, holes or specks


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("min_area", [1, 4, 30, 300])
def test_cleaning_near_the_mask_equals_cleaning_the_whole_image(seed: int, min_area: int) -> None:
    rng = np.random.default_rng(seed)
    height, width = rng.integers(8, 40, 2)
    mask = np.zeros((height, width), dtype=np.bool_)
    y0, x0 = rng.integers(0, 6, 2) * rng.integers(0, 2, 2)
    y1, x1 = (height, width) - rng.integers(0, 6, 2) * rng.integers(0, 2, 2)
    mask[y0:y1, x0:x1] = rng.random((y1 - y0, x1 - x0)) < rng.choice([0.2, 0.5, 0.8, 0.95])
    expected, changed = whole_image_rule(mask, min_area)
    result = clean(run_lengths.encode(mask), min_area)
    assert result.changed == changed
    assert result.mask is not None
    np.testing.assert_array_equal(run_lengths.decode(result.mask), expected)


def test_a_thin_rest_of_the_image_beyond_the_mask_is_filled() -> None:
    mask = np.ones((12, 12), dtype=np.bool_)
    mask[:3] = False
    result = clean(run_lengths.encode(mask), 37)
    assert result.mask is not None
    assert run_lengths.area(result.mask) == 144


def test_the_paper_drops_a_mask_without_a_large_piece() -> None:
    two_pieces = run_lengths.encode(mask_of("##.#. ##.#. ....."))
    assert clean(two_pieces, 5, small_masks=SmallMasks.DROP).mask is None
    kept = clean(two_pieces, 4, small_masks=SmallMasks.DROP).mask
    assert kept is not None
    np.testing.assert_array_equal(run_lengths.decode(kept), mask_of("##... ##... ....."))


def test_the_largest_piece_is_measured_after_its_holes_are_filled() -> None:
    ring = run_lengths.encode(mask_of("###.... #.#.... ###...."))
    result = clean(ring, 9, small_masks=SmallMasks.DROP)
    assert result.mask is not None
    assert run_lengths.area(result.mask) == 9


def test_an_empty_mask() -> None:
    empty = run_lengths.encode(np.zeros((3, 3)))
    assert clean(empty, 5).mask == empty
    assert clean(empty, 5, small_masks=SmallMasks.DROP).mask is None
