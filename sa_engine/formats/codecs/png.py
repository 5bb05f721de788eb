"""PNG files as numbers: palette indices and 16-bit values as they are stored, not as colours."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from sa_engine.dataset.images.integrity import check_png
from sa_engine.errors import AnnotationError

MAX_PIXELS = 200_000_000


NUMBERS = ("P", "L", "1", "I", "I;16", "I;16B")
"""Pillow's names of pixels that are one number each."""


def read(data: bytes, *, max_pixels: int = MAX_PIXELS) -> NDArray[Any]:
    """(H, W) values of a PNG of one channel: palette, grey of 1 to 16 bits, or bilevel.

    Raises AnnotationError for anything else, colours among it.
    """
    with _opened(data, max_pixels) as image:
        if image.mode not in NUMBERS:
            raise AnnotationError(f"its pixels are {image.mode} colours, not numbers")
        return _pixels(image)


def read_colours(data: bytes, *, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint32]:
    """(H, W) colours of a PNG as red + 256·green + 65536·blue; 0 where it is transparent.

    Palette indices become their colours. Raises AnnotationError if it cannot be read.
    """
    with _opened(data, max_pixels) as image:
        has_alpha = image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info
        rgba = _pixels(image.convert("RGBA" if has_alpha else "RGB")).astype(np.uint32)
    colours: NDArray[np.uint32] = rgba[..., 0] + (rgba[..., 1] << 8) + (rgba[..., 2] << 16)
    if has_alpha:
        colours[rgba[..., 3] == 0] = 0
    return colours


def are_colours(data: bytes) -> bool:
    """Whether a PNG's pixels are colours rather than numbers. AnnotationError if it is no PNG."""
    with _opened(data, MAX_PIXELS, whole=False) as image:
        return image.mode not in NUMBERS


def read_opaque(data: bytes, *, max_pixels: int = MAX_PIXELS) -> NDArray[np.bool_]:
    """(H, W): where a PNG with transparency is not wholly transparent, or one without is not 0.

    Raises AnnotationError if it cannot be read.
    """
    with _opened(data, max_pixels) as image:
        if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
            opaque: NDArray[np.bool_] = _pixels(image.convert("RGBA"))[..., 3] > 0
            return opaque
        values = _pixels(image)
    found: NDArray[np.bool_] = np.any(values.reshape(*values.shape[:2], -1), axis=2)
    return found


@contextmanager
def _opened(data: bytes, max_pixels: int, *, whole: bool = True) -> Iterator[Image.Image]:
    try:
        # Opened as a PNG alone, and not through Image.open: its pixel limit is one per process.
        image = PngImagePlugin.PngImageFile(io.BytesIO(data))
    except Exception as error:
        raise AnnotationError(f"it is not a whole PNG: {error}") from error
    with image:
        width, height = image.size
        if width * height > max_pixels:
            raise AnnotationError(f"{width}x{height} pixels, limit {max_pixels} in all")
        try:
            if whole:
                check_png(data)
                image.load()
        except Exception as error:
            raise AnnotationError(f"it is not a whole PNG: {error}") from error
        yield image


def _pixels(image: Image.Image) -> NDArray[Any]:
    return np.asarray(image)


def encode(values_HW: NDArray[np.uint16]) -> bytes:
    """A 16-bit grey PNG; the same bytes every time."""
    buffer = io.BytesIO()
    Image.fromarray(values_HW).save(buffer, format="PNG")
    return buffer.getvalue()


def encode_bits(mask_HW: NDArray[np.bool_]) -> bytes:
    """A PNG of one bit a pixel; the same bytes every time."""
    buffer = io.BytesIO()
    Image.fromarray(mask_HW).save(buffer, format="PNG")
    return buffer.getvalue()
