"""PNG files as numbers: palette indices and 16-bit values as they are stored, not as colours."""

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from sa_engine.errors import AnnotationError

MAX_PIXELS = 200_000_000


def read(data: bytes, *, max_pixels: int = MAX_PIXELS) -> NDArray[Any]:
    """(H, W) values of a PNG of one channel: palette, grey of 1 to 16 bits, or bilevel.

    Raises AnnotationError for anything else, colours among it.
    """
    try:
        # Opened as a PNG alone, and not through Image.open: its pixel limit is one per process.
        with PngImagePlugin.PngImageFile(io.BytesIO(data)) as image:
            width, height = image.size
            if width * height > max_pixels:
                raise AnnotationError(f"{width}x{height} pixels, limit {max_pixels} in all")
            if image.mode not in ("P", "L", "1", "I", "I;16", "I;16B"):
                raise AnnotationError(f"its pixels are {image.mode} colours, not numbers")
            return np.asarray(image)
    except AnnotationError:
        raise
    except Exception as error:
        raise AnnotationError(f"it is not a whole PNG: {error}") from error


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
