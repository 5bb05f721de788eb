"""Rings inside a mask's edges: the same mask by COCO's rasteriser, OpenCV's and Pillow's."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from sa_engine.masks.inset import STEPS, from_pixels, to_inset_parts, to_pixels, touches_by_corner
from sa_engine.masks.polygons import PolygonPart, from_polygons, to_single_ring
from sa_engine.masks.rle import decode, encode
from tests.support.drawing import grid


def opencv(rings: list[NDArray[np.float64]], size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """As Ultralytics and supervision draw: whole numbers, each a pixel, the outline included."""
    drawn = np.zeros(size_hw, dtype=np.uint8)
    for ring in rings:
        cv2.fillPoly(drawn, [ring.astype(np.int32)], 1)
    return drawn.astype(bool)


def pillow(rings: list[NDArray[np.float64]], size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """As labelme draws."""
    image = Image.new("L", size_hw[::-1])
    for ring in rings:
        ImageDraw.Draw(image).polygon([tuple(xy) for xy in ring.tolist()], outline=1, fill=1)
    return np.asarray(image).astype(bool)


def outlines(parts: list[PolygonPart]) -> list[NDArray[np.float64]]:
    return [part.outer / STEPS for part in parts]


def test_a_square() -> None:
    (part,) = to_inset_parts(encode(grid("....", ".##.", ".##.", "....")))

    assert outlines([part])[0].tolist() == [[1.25, 1.25], [2.75, 1.25], [2.75, 2.75], [1.25, 2.75]]
    assert part.holes == ()
    assert not touches_by_corner(part)


def test_pixels_that_touch_by_a_corner_are_crossed_there() -> None:
    (part,) = to_inset_parts(encode(grid("#.", ".#")))

    assert touches_by_corner(part)
    # From one pixel to the other and back, and never into the two that are not of the mask.
    assert {(int(x), int(y)) for x, y in outlines([part])[0].tolist()} == {(0, 0), (1, 1)}


@pytest.mark.parametrize("scale", [1, 3])
def test_every_rasteriser_gives_the_mask_back(scale: int) -> None:
    random = np.random.default_rng(4)
    single = whole = 0
    for _ in range(400):
        small = random.random(random.integers(1, 12, 2)) < random.uniform(0.2, 0.9)
        mask = np.kron(small, np.ones((scale, scale))).astype(bool)
        if not mask.any():
            continue
        parts = to_inset_parts(encode(mask))
        for hole in (hole for part in parts for hole in part.holes):
            assert hole[0, ::-1].tolist() == min(hole[:, ::-1].tolist())
        ring = to_single_ring(parts) / STEPS
        assert np.array_equal(decode(from_polygons([ring.reshape(-1)], mask.shape)), mask)
        points = to_pixels(to_single_ring(parts))
        assert np.array_equal(from_pixels(points), ring)
        if len(parts) == 1:
            # Holes and their cuts included.
            single += 1
            assert np.array_equal(opencv([ring], mask.shape), mask)
            assert np.array_equal(opencv([points], mask.shape), mask)
            assert np.array_equal(opencv([np.round(points)], mask.shape), mask)
        if not any(part.holes for part in parts):
            whole += 1
            rings = outlines(parts)
            flat = [each.reshape(-1) for each in rings]
            assert np.array_equal(decode(from_polygons(flat, mask.shape)), mask)
            assert np.array_equal(opencv(rings, mask.shape), mask)
            assert np.array_equal(pillow(rings, mask.shape), mask)
    assert min(single, whole) > 100
