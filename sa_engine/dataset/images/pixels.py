"""Pixels of any kind of picture as 8-bit RGB.

* transparency is dropped: the colours as stored, as the model's usual readers take them;
* palette, CMYK, YCCK, Lab and grayscale become RGB; colour profiles are not applied;
* 16-bit values of n bits v become round(v * 255 / (2**n - 1)). n is the least from 8 to 16 that
  holds the largest value: cameras and scanners put 10 to 14 bits in 16. Where all but a thousandth
  of the values need 4 bits fewer (the others are hot pixels), n holds those; the others are white;
* 32-bit integers likewise if none is over 65,535, else they are stretched from their minimum and
  maximum to 0..255;
* floats in [0, 1] are scaled by 255, floats in [0, 255] are kept, others are stretched; what is not
  finite becomes 0.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from sa_engine.errors import ImageError

LEAST_DEPTH, FULL_DEPTH = 8, 16
HOT_SHARE, HOT_BITS = 0.001, 4
"""Pixels are hot if they are at most this share of all and need so many bits more than others."""

_BAND_PIXELS = 1 << 20
"""Pixels that are converted at once, so that no large picture is in memory in a wide type."""


def to_rgb(image: Image.Image) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 of a decoded picture, by the rules at the top of this module."""
    return with_depth(image)[0]


def with_depth(image: Image.Image) -> tuple[NDArray[np.uint8], int | None]:
    """`to_rgb`, and the bits that were used of 16; None for pictures of other kinds."""
    mode = image.mode
    if mode.startswith("I;16") or mode in ("I", "F"):
        return values_to_rgb(pixels_of(image))
    if mode in ("RGBA", "RGBX"):
        return pixels_of(image, 3), None
    if mode == "LA":
        return np.repeat(pixels_of(image, 1), 3, axis=2), None
    if mode == "PA":
        return pixels_of(image.convert("RGBA"), 3), None
    if mode == "P":
        # Straight from the palette, or a transparent entry would be blended.
        image.info.pop("transparency", None)
    if mode == "LAB":
        return np.array(_lab_to_rgb(image)), None
    return pixels_of(image if mode == "RGB" else image.convert("RGB")), None


def values_to_rgb(values: NDArray[Any]) -> tuple[NDArray[np.uint8], int | None]:
    """(H, W, 3) uint8 of (H, W) or (H, W, 3) integers or floats, and the bits used of 16."""
    shown, depth = _to_8_bit(values)
    return np.repeat(shown[:, :, None], 3, axis=2) if shown.ndim == 2 else shown, depth


def pixels_of(image: Image.Image, channels: int | None = None) -> NDArray[Any]:
    """A picture's pixels as an array, band by band: Pillow's own way holds them three times.

    channels: only the first so many of them.
    """
    width, height = image.size
    rows = max(1, _BAND_PIXELS // width)
    found: NDArray[Any] | None = None
    for top in range(0, height, rows):
        bottom = min(height, top + rows)
        band = np.asarray(image if rows >= height else image.crop((0, top, width, bottom)))
        band = band if channels is None else band[:, :, :channels]
        if found is None:
            found = np.empty((height, *band.shape[1:]), band.dtype)
        found[top:bottom] = band
    if found is None:
        raise ImageError("unreadable", f"{width}x{height} has no pixels")
    return found


def _to_8_bit(values: NDArray[Any]) -> tuple[NDArray[np.uint8], int | None]:
    if values.dtype.kind == "f":
        return _float_to_8_bit(values), None
    if values.dtype.itemsize > 2 or values.dtype.kind == "i":
        if values.size and (values.max() > 65535 or values.min() < 0):
            low, high = float(values.min()), float(values.max())
            return _by_bands(values, lambda band: _stretch(band, low, high)), None
        values = values.astype(np.uint16)
    depth = depth_of(values)
    top = (1 << depth) - 1
    numbers = np.arange(1 << FULL_DEPTH, dtype=np.uint32)
    table = (np.minimum(numbers, top) * 255 + top // 2) // top
    return table.astype(np.uint8)[values], depth


def depth_of(values: NDArray[np.uint16]) -> int:
    """The bits that 16-bit values use, 8 to 16, by the rule at the top of this module."""
    counts = np.zeros(1 << FULL_DEPTH, np.int64)
    for band in _bands(values):
        counts += np.bincount(band.reshape(-1), minlength=1 << FULL_DEPTH)
    used = np.flatnonzero(counts)
    if not len(used):
        return FULL_DEPTH
    most = int(np.searchsorted(np.cumsum(counts), (1 - HOT_SHARE) * values.size)).bit_length()
    largest = int(used[-1]).bit_length()
    return max(LEAST_DEPTH, most if largest - most >= HOT_BITS else largest)


def _float_to_8_bit(values: NDArray[Any]) -> NDArray[np.uint8]:
    low, high = np.inf, -np.inf
    for band in _bands(values):
        finite = np.isfinite(band)
        low = min(low, float(band.min(initial=np.inf, where=finite)))
        high = max(high, float(band.max(initial=-np.inf, where=finite)))

    def shown(band: NDArray[Any]) -> NDArray[np.uint8]:
        finite = np.isfinite(band)
        real = np.where(finite, band, 0).astype(np.float64)
        if low < 0 or high > 255:
            return np.where(finite, _stretch(real, low, high), 0).astype(np.uint8)
        return np.floor((real * 255 if high <= 1 else real) + 0.5).astype(np.uint8)

    return _by_bands(values, shown)


def _bands(values: NDArray[Any]) -> Iterator[NDArray[Any]]:
    rows = max(1, _BAND_PIXELS // max(1, values[:1].size))
    for top in range(0, len(values), rows):
        yield values[top : top + rows]


def _by_bands(values: NDArray[Any], change: Any) -> NDArray[np.uint8]:
    found = np.empty(values.shape, np.uint8)
    top = 0
    for band in _bands(values):
        found[top : top + len(band)] = change(band)
        top += len(band)
    return found


def _stretch(values: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    span = high / 2 - low / 2
    if span <= 0:
        return np.zeros(values.shape, np.uint8)
    unit = (values.astype(np.float64) / 2 - low / 2) / span
    return np.floor(np.clip(unit, 0, 1) * 255 + 0.5).astype(np.uint8)


def _lab_to_rgb(image: Image.Image) -> Image.Image:
    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    transform = ImageCms.buildTransform(lab, srgb, "LAB", "RGB")
    converted = ImageCms.applyTransform(image, transform)
    if converted is None:
        raise ImageError("unreadable", "its Lab colours cannot be converted")
    return converted
