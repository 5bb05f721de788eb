"""Pixels of any kind of picture as 8-bit RGB.

* transparency is dropped: the colours as stored, as the model's usual readers take them;
* palette, CMYK, YCCK, Lab and grayscale become RGB; colour profiles are not applied;
* 16-bit values v become round(v / 257); 32-bit integers likewise if none is over 65,535, else they
  are stretched from their minimum and maximum to 0..255;
* floats in [0, 1] are scaled by 255, floats in [0, 255] are kept, others are stretched; what is not
  finite becomes 0.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from sa_engine.errors import ImageError


def to_rgb(image: Image.Image) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 of a decoded picture, by the rules at the top of this module."""
    mode = image.mode
    if mode.startswith("I;16") or mode in ("I", "F"):
        grey = _to_8_bit(np.asarray(image))
        return np.repeat(grey[:, :, None], 3, axis=2)
    if mode in ("RGBA", "RGBX"):
        return np.ascontiguousarray(np.asarray(image)[:, :, :3])
    if mode == "LA":
        return np.repeat(np.asarray(image)[:, :, :1], 3, axis=2)
    if mode == "PA":
        image = image.convert("RGBA")
        return np.ascontiguousarray(np.asarray(image)[:, :, :3])
    if mode == "P":
        # Straight from the palette, or a transparent entry would be blended.
        image.info.pop("transparency", None)
    if mode == "LAB":
        return np.array(_lab_to_rgb(image))
    return np.array(image if mode == "RGB" else image.convert("RGB"))


def _to_8_bit(values: NDArray[Any]) -> NDArray[np.uint8]:
    if values.dtype.kind == "f":
        return _float_to_8_bit(values)
    if values.dtype.itemsize > 2 and values.size and (values.max() > 65535 or values.min() < 0):
        return _stretch(values.astype(np.float64))
    wide = values.astype(np.uint32)
    return ((wide * 255 + 32767) // 65535).astype(np.uint8)


def _float_to_8_bit(values: NDArray[Any]) -> NDArray[np.uint8]:
    finite = np.isfinite(values)
    values = np.where(finite, values, 0).astype(np.float64)
    low = values.min(initial=np.inf, where=finite)
    high = values.max(initial=-np.inf, where=finite)
    if low < 0 or high > 255:
        return np.where(finite, _stretch(values, low, high), 0).astype(np.uint8)
    scaled = values * 255 if high <= 1 else values
    return np.floor(scaled + 0.5).astype(np.uint8)


def _stretch(
    values: NDArray[np.float64], low: float | None = None, high: float | None = None
) -> NDArray[np.uint8]:
    low = float(values.min()) if low is None else low
    high = float(values.max()) if high is None else high
    span = high / 2 - low / 2
    if span <= 0:
        return np.zeros(values.shape, np.uint8)
    unit = (values / 2 - low / 2) / span
    return np.floor(np.clip(unit, 0, 1) * 255 + 0.5).astype(np.uint8)


def _lab_to_rgb(image: Image.Image) -> Image.Image:
    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    transform = ImageCms.buildTransform(lab, srgb, "LAB", "RGB")
    converted = ImageCms.applyTransform(image, transform)
    if converted is None:
        raise ImageError("unreadable", "its Lab colours cannot be converted")
    return converted
