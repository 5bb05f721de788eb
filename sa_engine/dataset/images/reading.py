"""From an image file's bytes to upright 8-bit RGB, and to the bytes that the dataset keeps.

Upright means by EXIF orientation (EXIF of JPEG, PNG, WebP, TIFF, AVIF); colours follow pixels.py;
of several frames or pages the first counts. A file that ends too early is an error, never a picture
with a grey part.
"""

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, JpegImagePlugin

from sa_engine.dataset.images.decoding import (
    EXTENSIONS,
    check_size,
    decoding,
    load_whole,
    orientation,
    recognise,
)
from sa_engine.dataset.images.pixels import to_rgb

DEFAULT_MAX_PIXELS = 200_000_000
"""Largest image that is decoded, pixels."""


@dataclass(frozen=True, slots=True)
class StoredImage:
    """An image as the dataset keeps it.

    rgb_HW3: uint8, upright: what a reader of `data` sees, by this module's rules.
    data: the file's bytes as they came if they were upright and needed no resizing.
    extension: ending of the file's name, without the dot.
    """

    rgb_HW3: NDArray[np.uint8]
    data: bytes
    extension: str

    @property
    def size_hw(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        height, width, _ = self.rgb_HW3.shape
        return height, width


def read_image(
    data: bytes, *, max_pixels: int = DEFAULT_MAX_PIXELS, shortest_side: int | None = None
) -> StoredImage:
    """Decode an image file, and re-encode it only where it lies on its side or is too large.

    data: the file's bytes.
    max_pixels: images of more pixels are refused before they are decoded.
    shortest_side: images whose shortest side is longer are downsized to it, pixels, from 1.

    A re-encoded image is 8-bit, RGB or grayscale, in its own format (JPEG at quality 95 with its
    own chroma sampling); formats that cannot be written without loss of colours become PNG.

    Raises ImageError: "empty", "not-an-image", "truncated", "too-large", "unreadable".
    """
    if shortest_side is not None and shortest_side < 1:
        raise ValueError(f"the shortest side must be 1 pixel or more, not {shortest_side}")
    with decoding(data):
        image = recognise(data)
        check_size(image, max_pixels)
        turn = orientation(image)
        load_whole(image, data)
        if image.format == "TIFF":
            # Pillow has turned it already, in `load`.
            turned: Image.Image = image
        else:
            turned = _turn(image, turn)
        target = _target_size(turned.size, shortest_side)
        rgb = to_rgb(turned)
        if turn == 1 and target == turned.size:
            return StoredImage(rgb, data, EXTENSIONS[image.format or "PNG"])
        return _reencode(image, data, rgb, grey=_is_grey(turned), size_wh=target)


def read_rgb(data: bytes, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> NDArray[np.uint8]:
    """Decode an image file to upright (H, W, 3) uint8 RGB. Raises ImageError as `read_image`."""
    with decoding(data):
        image = recognise(data)
        check_size(image, max_pixels)
        turn = orientation(image)
        load_whole(image, data)
        return to_rgb(image if image.format == "TIFF" else _turn(image, turn))


def read_size_hw(data: bytes) -> tuple[int, int]:
    """Upright (height, width) from an image file's header alone.

    Raises ImageError as `read_image` does.
    """
    with decoding(data):
        image = recognise(data)
        width, height = image.size
        # Pillow gives a turned TIFF's size as it will be after `load`.
        turned = image.format != "TIFF" and orientation(image) >= 5
        return (width, height) if turned else (height, width)


_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _turn(image: Image.Image, orientation: int) -> Image.Image:
    return image if orientation == 1 else image.transpose(_TURNS[orientation])


def _is_grey(image: Image.Image) -> bool:
    return image.mode in ("1", "L", "LA", "I", "F") or image.mode.startswith("I;16")


def _target_size(size_wh: tuple[int, int], shortest_side: int | None) -> tuple[int, int]:
    width, height = size_wh
    short = min(width, height)
    if shortest_side is None or short <= shortest_side:
        return width, height
    long = (max(width, height) * shortest_side * 2 + short) // (2 * short)
    return (shortest_side, long) if width <= height else (long, shortest_side)


def _reencode(
    original: ImageFile.ImageFile,
    data: bytes,
    rgb: NDArray[np.uint8],
    *,
    grey: bool,
    size_wh: tuple[int, int],
) -> StoredImage:
    picture = Image.fromarray(rgb)
    if picture.size != size_wh:
        picture = picture.resize(size_wh, Image.Resampling.LANCZOS)
    if grey:
        picture = picture.getchannel(0)
    name, options = _writer(original, data)
    profile = original.info.get("icc_profile")
    if profile and name in ("JPEG", "PNG", "WEBP", "TIFF") and original.mode in ("RGB", "L"):
        options["icc_profile"] = profile
    buffer = io.BytesIO()
    picture.save(buffer, format=name, **options)
    written = buffer.getvalue()
    return StoredImage(read_rgb(written, max_pixels=rgb.size), written, EXTENSIONS[name])


def _writer(image: ImageFile.ImageFile, data: bytes) -> tuple[str, dict[str, Any]]:
    """The format to write a changed image in, and options that make equal bytes every time."""
    match image.format:
        case "JPEG" | "MPO":
            sampling = JpegImagePlugin.get_sampling(image)
            return "JPEG", {"quality": 95, "subsampling": sampling if sampling >= 0 else 0}
        case "WEBP":
            return "WEBP", {"lossless": data[12:16] == b"VP8L", "quality": 95, "method": 4}
        case "TIFF":
            return "TIFF", {"compression": "tiff_adobe_deflate"}
        case "AVIF":
            return "AVIF", {"quality": 90, "speed": 6, "max_threads": 1}
        case "BMP" | "JPEG2000" | "PPM" as name:
            return name, {}
    return "PNG", {}
