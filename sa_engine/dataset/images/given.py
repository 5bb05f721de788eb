"""Images as Python users hold them: a path, a PIL image, an array."""

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from sa_engine.dataset.images.pixels import to_rgb
from sa_engine.dataset.images.reading import read_rgb
from sa_engine.errors import UsageError

AnyImage = str | os.PathLike[str] | Image.Image | NDArray[np.uint8]
"""The path of an image file, a PIL image, or upright RGB as (H, W, 3) uint8."""


def rgb_of(image: AnyImage) -> NDArray[np.uint8]:
    """Upright RGB, (H, W, 3) uint8. An array of that kind is returned as it is, not copied.

    Files and PIL images are turned upright by their EXIF orientation.

    Raises UsageError if there is no such file, ImageError if it cannot be read, ValueError for an
    array that is not (H, W, 3) uint8 with at least one pixel.
    """
    if isinstance(image, Image.Image):
        return to_rgb(ImageOps.exif_transpose(image))
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
            raise ValueError(
                f"an image is (H, W, 3) uint8, RGB; got {image.shape} {image.dtype}: convert it, "
                "or give the file's path"
            )
        return image
    path = Path(image)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read the image {path}: {error.strerror}") from error
    return read_rgb(data)
