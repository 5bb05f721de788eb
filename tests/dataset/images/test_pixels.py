"""The depth of 16-bit values, and conversion band by band."""

import numpy as np
import pytest
from PIL import Image

from sa_engine.dataset.images import pixels
from sa_engine.dataset.images.pixels import depth_of, pixels_of, values_to_rgb


@pytest.mark.parametrize(
    ("most", "depth"),
    [(0, 8), (255, 8), (256, 9), (1023, 10), (4095, 12), (4096, 13), (16383, 14), (65535, 16)],
)
def test_depth_is_the_least_that_holds_the_largest(most: int, depth: int) -> None:
    values = np.linspace(0, most, 1000).reshape(20, 50).astype(np.uint16)
    assert depth_of(values) == depth
    shown, told = values_to_rgb(values)
    assert told == depth
    assert shown[-1, -1].tolist() == [round(most * 255 / ((1 << depth) - 1))] * 3


def test_a_few_hot_pixels_do_not_darken_a_picture() -> None:
    values = np.linspace(0, 4095, 10_000).reshape(100, 100).astype(np.uint16)
    values[0, :5] = 65535
    shown, depth = values_to_rgb(values)
    assert depth == 12
    assert shown[0, 0, 0] == 255 and shown[99, 99, 0] == 255 and 120 < shown[50, 0, 0] < 135
    # Lights of a picture that uses its depth are no hot pixels.
    values = np.linspace(0, 20_000, 10_000).reshape(100, 100).astype(np.uint16)
    values[0, :5] = 65535
    assert depth_of(values) == 16


def test_bands_give_what_the_whole_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 256, (37, 11, 3), dtype=np.uint8)
    floats = rng.normal(size=(37, 11)).astype(np.float32)
    floats[3, 3] = np.nan
    wide = rng.integers(-(10**6), 10**6, (37, 11), dtype=np.int32)
    whole = [values_to_rgb(each)[0] for each in (floats, wide)]
    monkeypatch.setattr(pixels, "_BAND_PIXELS", 50)
    np.testing.assert_array_equal(pixels_of(Image.fromarray(colours)), colours)
    for values, expected in zip((floats, wide), whole, strict=True):
        np.testing.assert_array_equal(values_to_rgb(values)[0], expected)
