"""Overlays colour what is under a mask and leave the rest."""

import numpy as np

from sa_engine.masks.rle import Rle, encode
from sa_engine.report.overlay import overlay, palette, reduced


def test_colours_the_mask_and_nothing_else() -> None:
    rgb = np.full((6, 6, 3), 100, dtype=np.uint8)
    mask = np.zeros((6, 6), dtype=bool)
    mask[1:5, 1:5] = True
    (colour,) = palette(1)
    picture = overlay(rgb, [encode(mask)], opacity=0.5, outline_px=1)
    assert (picture[0] == 100).all()
    assert picture[1, 1].tolist() == list(colour)
    # 100 and the colour in equal parts, inside the outline.
    assert picture[2, 2].tolist() == [int(100 * 0.5 + part * 0.5) for part in colour]
    assert (rgb == 100).all()


def test_small_masks_are_drawn_over_large_ones() -> None:
    rgb = np.zeros((20, 20, 3), dtype=np.uint8)
    whole, part = np.ones((20, 20), dtype=bool), np.zeros((20, 20), dtype=bool)
    part[5:15, 5:15] = True
    first = overlay(rgb, [encode(part), encode(whole)], opacity=1.0, outline_px=1)
    assert first[10, 10].tolist() == list(palette(2)[0])
    assert first[2, 2].tolist() == list(palette(2)[1])


def test_palette_is_stable_and_distinct() -> None:
    assert palette(3) == palette(8)[:3]
    assert len(set(palette(64))) == 64


def test_masks_of_a_larger_photograph_are_drawn_at_the_pictures_size() -> None:
    mask = np.zeros((60, 80), dtype=bool)
    mask[20:40, 40:80] = True
    picture = overlay(np.zeros((6, 8, 3), dtype=np.uint8), [encode(mask)], opacity=1.0)
    coloured = (picture == palette(1)[0]).all(axis=2)
    expected = np.zeros((6, 8), dtype=bool)
    expected[2:4, 4:8] = True
    assert (coloured == expected).all()
    assert not picture[~expected].any()


def test_reduced_keeps_the_shape_and_never_enlarges() -> None:
    rgb = np.zeros((60, 81, 3), dtype=np.uint8)
    assert reduced(rgb, 27).shape == (20, 27, 3)
    assert reduced(rgb, 100) is rgb


def test_a_damaged_mask_is_passed_over() -> None:
    mask = np.zeros((4, 6), dtype=bool)
    mask[1:3, 1:3] = True
    torn = Rle((4, 6), "~~")
    picture = overlay(np.zeros((4, 6, 3), dtype=np.uint8), [torn, encode(mask)], outline_px=1)
    assert ((picture > 0).any(axis=2) == mask).all()
