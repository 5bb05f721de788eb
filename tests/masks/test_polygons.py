"""Polygons and masks: exact there and back by COCO's rasteriser."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from sa_engine.masks import polygons
from sa_engine.masks.polygons import (
    from_many_polygons,
    from_parts,
    from_polygons,
    to_parts,
    to_single_ring,
)
from sa_engine.masks.rle import Rle, decode, encode

masks = arrays(bool, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12))


def grid(*rows: str) -> Rle:
    return encode(np.array([[cell == "#" for cell in row] for row in rows]))


def rows(mask: Rle) -> list[str]:
    return ["".join("#" if cell else "." for cell in row) for row in decode(mask)]


def test_a_ring_runs_clockwise_along_pixel_edges() -> None:
    (part,) = to_parts(grid("....", ".##.", ".#..", "...."))

    assert part.outer.tolist() == [[1, 1], [3, 1], [3, 2], [2, 2], [2, 3], [1, 3]]
    assert part.holes == ()


def test_holes_run_the_other_way_round() -> None:
    (part,) = to_parts(grid("#####", "#.#.#", "#####"))

    assert part.outer.tolist() == [[0, 0], [5, 0], [5, 3], [0, 3]]
    assert [hole.tolist() for hole in part.holes] == [
        [[1, 1], [1, 2], [2, 2], [2, 1]],
        [[3, 1], [3, 2], [4, 2], [4, 1]],
    ]


def test_pixels_that_touch_by_a_corner_are_one_part() -> None:
    (part,) = to_parts(grid("#.", ".#"))

    assert part.outer.tolist() == [
        [0, 0], [1, 0], [1, 1], [2, 1], [2, 2], [1, 2], [1, 1], [0, 1],
    ]  # fmt: skip


def test_a_hole_belongs_to_the_part_around_it() -> None:
    parts = to_parts(
        grid(
            "#######",
            "#.....#",
            "#.###.#",
            "#.#.#.#",
            "#.###.#",
            "#.....#",
            "#######",
        )
    )

    assert [(part.outer[0].tolist(), [h[0].tolist() for h in part.holes]) for part in parts] == [
        ([0, 0], [[1, 1]]),
        ([2, 2], [[3, 3]]),
    ]


def test_a_single_ring_walks_down_to_a_hole_and_back() -> None:
    ring = to_single_ring(to_parts(grid("####", "#..#", "####")))

    assert ring.tolist() == [
        [0, 0], [1, 0], [1, 1], [1, 2], [3, 2], [3, 1], [1, 1], [1, 0], [4, 0], [4, 3], [0, 3],
    ]  # fmt: skip


def test_parts_on_each_other_are_filled_by_the_even_odd_rule() -> None:
    corners = [np.array([[0, 0], [n, 0], [n, n], [0, n]], dtype=np.int32) for n in (1, 2, 3)]
    squares = [polygons.PolygonPart(ring) for ring in corners]

    assert rows(from_parts(squares, (3, 3))) == ["#.#", "..#", "###"]
    assert rows(from_parts(squares[:2], (3, 3))) == [".#.", "##.", "..."]


def test_an_empty_mask_has_no_parts() -> None:
    assert to_parts(grid("...", "...")) == []


@given(masks)
@settings(max_examples=300, deadline=None)
def test_parts_give_the_mask_back(mask: np.ndarray) -> None:
    coded = encode(mask)

    assert from_parts(to_parts(coded), mask.shape) == coded


@given(masks)
@settings(max_examples=300, deadline=None)
def test_a_single_ring_gives_the_mask_back(mask: np.ndarray) -> None:
    parts = to_parts(encode(mask))
    if parts:
        ring = to_single_ring(parts).reshape(-1)
        assert from_polygons([ring], mask.shape) == encode(mask)


@given(masks)
@settings(max_examples=200, deadline=None)
def test_outer_rings_are_enough_where_there_are_no_holes(mask: np.ndarray) -> None:
    parts = to_parts(encode(mask))
    filled = from_polygons([part.outer.reshape(-1) for part in parts], mask.shape)

    expected = from_parts([polygons.PolygonPart(part.outer) for part in parts], mask.shape)
    assert filled == expected
    if not any(part.holes for part in parts):
        assert filled == encode(mask)


@given(st.lists(st.floats(-1e7, 1e7), min_size=6, max_size=12).filter(lambda n: len(n) % 2 == 0))
@settings(max_examples=200, deadline=None)
def test_any_finite_polygon_can_be_filled(numbers: list[float]) -> None:
    filled = from_polygons([numbers], (5, 7))

    assert decode(filled).shape == (5, 7)


def test_polygons_are_filled_as_coco_fills_them() -> None:
    # A triangle whose long side cuts through pixels; the figures are COCO's.
    assert rows(from_polygons([[0, 0, 6, 0, 0, 4]], (4, 6))) == [
        "#####.",
        "####..",
        "##....",
        "#.....",
    ]


def test_polygons_of_one_mask_are_united() -> None:
    square, other = [0, 0, 2, 0, 2, 2, 0, 2], [1, 1, 3, 1, 3, 3, 1, 3]

    assert rows(from_polygons([square, other], (3, 4))) == ["##..", "###.", ".##."]


def test_many_masks_at_once() -> None:
    square, other = [0, 0, 1, 0, 1, 1, 0, 1], [2, 2, 3, 2, 3, 3, 2, 3]
    masks = from_many_polygons([[square], [], [square, other]], (3, 3))

    assert [rows(mask) for mask in masks] == [
        ["#..", "...", "..."],
        ["...", "...", "..."],
        ["#..", "...", "..#"],
    ]


def test_what_lies_far_outside_is_cut_off_exactly() -> None:
    near = from_polygons([[-3, -3, 4, -3, 4, 2, -3, 2]], (4, 6))
    far = from_polygons([[-9e6, -9e6, 4, -9e6, 4, 2, -9e6, 2]], (4, 6))

    assert far == near
    assert rows(far) == ["####..", "####..", "......", "......"]


@pytest.mark.parametrize("ring", [[], [1, 1, 2, 2], [1, 1, 2, 2, 3], [[1, 1], [2, 2], [3, 3]]])
def test_rings_of_another_form_are_refused(ring: list[float]) -> None:
    with pytest.raises(ValueError, match="needs 6 numbers or more"):
        from_polygons([ring], (4, 4))


def test_rings_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ValueError, match="needs finite numbers"):
        from_polygons([[0, 0, float("nan"), 0, 1, 1]], (4, 4))


def test_an_outline_that_would_fill_the_memory_is_refused() -> None:
    zigzag = [value for n in range(2_000) for value in (0, n % 7, 8_000, n % 5)]

    with pytest.raises(ValueError, match="outline is 32000000 pixels long, limit 10000000"):
        from_polygons([zigzag], (8_000, 8_000))
