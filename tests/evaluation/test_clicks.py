"""Clicks on hand-written masks."""

import numpy as np

from sa_engine.evaluation.clicks import Click, FirstPoint, first_click, innermost, next_click


def mask(rows: str) -> np.ndarray:
    return np.array([[c == "#" for c in row] for row in rows.split()], dtype=np.bool_)


TARGET = mask(
    """
    .......
    .#####.
    .#####.
    .#####.
    .#####.
    .#####.
    .......
    """
)
NOTHING = np.zeros_like(TARGET)


def test_the_centre_is_the_innermost_pixel():
    click = first_click(TARGET, how=FirstPoint.CENTRE, rng=np.random.default_rng(0))
    assert click == Click(3, 3, True)


def test_the_rim_of_the_picture_is_an_edge():
    assert innermost(np.ones((5, 9), dtype=np.bool_))[1] == 2


def test_random_points_cover_the_mask():
    rng = np.random.default_rng(0)
    drawn = [first_click(TARGET, how=FirstPoint.RANDOM, rng=rng) for _ in range(500)]
    assert {(c.x, c.y) for c in drawn} == {(x, y) for x in range(1, 6) for y in range(1, 6)}
    assert all(c.foreground for c in drawn)


def test_missed_foreground_is_the_next_click():
    predicted = TARGET & (np.arange(7) < 3)
    assert next_click(predicted, TARGET) == Click(4, 2, True)


def test_the_largest_excess_is_the_next_click():
    wide = np.zeros((7, 12), dtype=np.bool_)
    wide[:, :7] = TARGET
    predicted = wide.copy()
    predicted[2:5, 8:11] = True
    predicted[0, 0] = True
    assert next_click(predicted, wide) == Click(9, 3, False)


def test_ignored_pixels_are_no_error():
    predicted = np.ones_like(TARGET)
    click = next_click(predicted, TARGET, ignored=~TARGET)
    assert click == Click(3, 3, True)


def test_regions_touch_over_corners():
    target = mask("#.. .#. ..#")
    region = next_click(np.zeros_like(target), target)
    assert region.foreground
