"""Overlays colour what is under a mask and leave the rest."""

import numpy as np

from sa_engine.masks.rle import encode
from sa_engine.report.overlay import overlay, palette


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
