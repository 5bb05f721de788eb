"""Measures of shape by hand, and as scipy and scikit-image compute them."""

import numpy as np
import pytest

from sa_engine.masks.rle import encode
from sa_engine.masks.shape import MaskShape, shape_of
from tests.support.drawing import grid


def test_a_frame_with_a_speck_in_it() -> None:
    mask = grid(
        "......",
        ".#####",
        ".#...#",
        ".#.#.#",
        ".#...#",
        ".#####",
    )
    assert shape_of(encode(mask)) == MaskShape(
        area=17, hull_area=25.0, boundary_px=17, components=2, holes=1
    )


def test_a_rectangle_and_a_triangle() -> None:
    full = shape_of(encode(np.ones((4, 5), dtype=bool)))
    assert full is not None
    # On the image's edge is on the outside.
    assert (full.concavity, full.boundary_px) == (0.0, 14)
    triangle = shape_of(encode(grid("#...", "##..", "###.", "####")))
    assert triangle is not None
    # The hull cuts the corners of the steps: 16 - 3 * 3 / 2 - ... = 11.5.
    assert triangle.hull_area == 16 - 4.5
    assert triangle.concavity == pytest.approx(1 - 10 / 11.5)


def test_pieces_that_touch_at_a_corner_are_one() -> None:
    found = shape_of(encode(grid("#..", ".#.", "...")))
    assert found is not None
    assert (found.components, found.holes) == (1, 0)
    # Background that touches at a corner is not joined: both are holes.
    ring = shape_of(encode(grid("####.", "#.##.", "##.#.", "####.")))
    assert ring is not None
    assert (ring.components, ring.holes) == (1, 2)


def test_nothing() -> None:
    assert shape_of(encode(np.zeros((3, 3), dtype=bool))) is None


@pytest.mark.parametrize("seed", range(12))
def test_agrees_with_scipy_and_scikit_image(seed: int) -> None:
    scipy_spatial = pytest.importorskip("scipy.spatial")
    measure = pytest.importorskip("skimage.measure")
    segmentation = pytest.importorskip("skimage.segmentation")
    filters = pytest.importorskip("skimage.filters")
    rng = np.random.default_rng(seed)
    smooth = filters.gaussian(rng.random((40, 55)), sigma=seed % 4 + 0.5)
    mask = smooth > np.quantile(smooth, 0.3 + 0.05 * seed)
    found = shape_of(encode(mask))
    assert found is not None
    rows, columns = np.nonzero(mask)
    corners = [
        (x + dx, y + dy) for x, y in zip(columns, rows, strict=True) for dx, dy in np.ndindex(2, 2)
    ]
    assert found.hull_area == pytest.approx(scipy_spatial.ConvexHull(corners).volume)
    assert found.components == measure.label(mask, connectivity=2).max()
    padded = np.pad(mask, 1)
    background = measure.label(~padded, connectivity=1)
    assert found.holes == background.max() - 1
    inner = segmentation.find_boundaries(padded, connectivity=1, mode="inner")
    assert found.boundary_px == int(inner.sum())
    assert found.area == int(mask.sum())
