"""From an image file's bytes to upright 8-bit RGB, and to the bytes that the dataset keeps.

Upright means by EXIF orientation (orientation.py); colours follow pixels.py; of several frames or
pages the first counts. A file that ends too early or is damaged is an error, never a picture with a
grey part (integrity.py).
"""

import io
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, JpegImagePlugin

from sa_engine.dataset.images.decoding import (
    EXTENSIONS,
    check_size,
    check_stream,
    decoding,
    recognise,
)
from sa_engine.dataset.images.integrity import jpeg2000_bits
from sa_engine.dataset.images.orientation import load_late_notes, orientation, turned
from sa_engine.dataset.images.pixels import FULL_DEPTH, values_to_rgb, with_depth
from sa_engine.dataset.images.tiff import is_negative, read_tiff
from sa_engine.errors import ImageError

DEFAULT_MAX_PIXELS = 200_000_000
"""Largest image that is decoded, pixels."""

_REWRITTEN = ("HEIF",)
"""Formats of which a dataset keeps no file as it came."""


@dataclass(frozen=True, slots=True)
class StoredImage:
    """An image as the dataset keeps it.

    rgb_HW3: uint8, upright: what a reader of `data` sees, by this module's rules.
    data: the file's bytes as they came if they were upright and needed no resizing.
    extension: suffix of the file's name, without the dot.
    orientation: EXIF orientation of the file as it came, 1..8, by which it was turned.
    notes: what was decided or is odd about its pixels, JSON values: "depth", the bits that 16-bit
        values were taken to use, where that is not 16; "decoder", what a decoder warned of.
    sha256: hex digest of the file as it came, where its reader has noted it.
    """

    rgb_HW3: NDArray[np.uint8]
    data: bytes
    extension: str
    orientation: int = 1
    notes: Mapping[str, Any] = field(default_factory=dict)
    sha256: str = ""

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
    own chroma sampling); formats that cannot be written without loss of colours become PNG. HEIF
    is always re-encoded, as JPEG of quality 95: most tools cannot read it.

    Raises ImageError: "empty", "not-an-image", "truncated", "damaged", "unsupported", "too-large",
    "too-costly", "unreadable".
    """
    if shortest_side is not None and shortest_side < 1:
        raise ValueError(f"the shortest side must be 1 pixel or more, not {shortest_side}")
    with decoding(data):
        found = _decode(data, max_pixels)
        height, width, _ = found.rgb_HW3.shape
        target = _target_size((width, height), shortest_side)
        is_kept = found.orientation == 1 and found.image.format not in _REWRITTEN
        if is_kept and target == (width, height):
            extension = EXTENSIONS[found.image.format or "PNG"]
            return StoredImage(found.rgb_HW3, data, extension, 1, found.notes)
        written, extension = _reencode(found, data, size_wh=target)
        del found.rgb_HW3  # as large as what is now read
        again = _decode(written, max(1, target[0] * target[1]), check=False)
        return StoredImage(again.rgb_HW3, written, extension, found.orientation, found.notes)


def read_rgb(
    data: bytes, *, max_pixels: int = DEFAULT_MAX_PIXELS, check: bool = True
) -> NDArray[np.uint8]:
    """Decode an image file to upright (H, W, 3) uint8 RGB. Raises ImageError as `read_image`.

    check: whether the file is to be shown to be whole; one that was, once, needs it no more.
    """
    with decoding(data):
        return _decode(data, max_pixels, check=check).rgb_HW3


def read_size_hw(data: bytes) -> tuple[int, int]:
    """Upright (height, width) from an image file's header alone.

    Raises ImageError as `read_image` does.
    """
    return read_orientation(data)[1]


def read_orientation(data: bytes) -> tuple[int, tuple[int, int]]:
    """EXIF orientation and upright (height, width) from an image file's header alone.

    Raises ImageError as `read_image` does.
    """
    with decoding(data):
        image = recognise(data)
        width, height = image.size
        load_late_notes(image, data)
        exif = orientation(image)
        # Pillow gives a turned TIFF's size as it will be after `load`.
        swapped = exif >= 5 and image.format != "TIFF"
        return exif, (width, height) if swapped else (height, width)


@dataclass(slots=True)
class _Decoded:
    """image: the file's header, without its pixels. The rest as in `StoredImage`."""

    image: ImageFile.ImageFile
    rgb_HW3: NDArray[np.uint8]
    is_grey: bool
    orientation: int
    notes: dict[str, Any]


def _decode(data: bytes, max_pixels: int, *, check: bool = True) -> _Decoded:
    image = recognise(data)
    check_size(image, max_pixels)
    odd = check_stream(image, data) if check else None
    is_tiff = image.format == "TIFF"
    exif = orientation(image) if is_tiff else 1
    values = _values(image, data)
    if values is not None:
        load_late_notes(image, data)
        rgb, depth = values_to_rgb(values)
        is_grey, is_upright = values.ndim == 2, False
        del values
    else:
        image.load()
        rgb, depth = with_depth(image)
        is_grey, is_upright = _is_grey(image), is_tiff  # Pillow turns a TIFF while it loads
        if is_tiff and is_negative(image):
            rgb = 255 - rgb
    if not is_tiff:
        exif = orientation(image)
    image.close()  # lets go of its pixels
    if not is_upright:
        rgb = np.ascontiguousarray(turned(rgb, exif))
    notes: dict[str, Any] = {}
    if depth not in (None, FULL_DEPTH):
        notes["depth"] = depth
    if odd is not None:
        notes["decoder"] = odd
    return _Decoded(image, rgb, is_grey, exif, notes)


def _values(image: ImageFile.ImageFile, data: bytes) -> NDArray[Any] | None:
    """The values of pictures of which Pillow would give other ones, or 8 bits of 16."""
    if image.format == "TIFF":
        return read_tiff(image, data)
    if not _has_deep_colours(image, data):
        return None
    found = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if found is None or found.dtype != np.uint16 or found.ndim != 3:
        raise ImageError("unreadable", "its 16-bit colours cannot be decoded")
    return found[:, :, 0] if image.mode == "LA" else found[:, :, 2::-1]


def _has_deep_colours(image: ImageFile.ImageFile, data: bytes) -> bool:
    """Whether a file has more than one channel of 16 bits."""
    match image.format:
        case "PNG":
            return data[24] == 16 and data[25] in (2, 4, 6)
        case "PPM":
            # Of a lower largest value Pillow scales by it.
            return data[:2] == b"P6" and bool(re.match(rb"P6(\s+\d+){2}\s+65535\s", data[:64]))
        case "JPEG2000":
            return image.mode in ("RGB", "RGBA") and jpeg2000_bits(data) > 8
    return False


def _is_grey(image: Image.Image) -> bool:
    return image.mode in ("1", "L", "LA", "I", "F") or image.mode.startswith("I;16")


def _target_size(size_wh: tuple[int, int], shortest_side: int | None) -> tuple[int, int]:
    width, height = size_wh
    short = min(width, height)
    if shortest_side is None or short <= shortest_side:
        return width, height
    long = (max(width, height) * shortest_side * 2 + short) // (2 * short)
    return (shortest_side, long) if width <= height else (long, shortest_side)


def _reencode(found: _Decoded, data: bytes, *, size_wh: tuple[int, int]) -> tuple[bytes, str]:
    """A turned or smaller picture in the file's own format: its bytes and the file's suffix."""
    picture = Image.fromarray(found.rgb_HW3)
    if picture.size != size_wh:
        picture = picture.resize(size_wh, Image.Resampling.LANCZOS)
    if found.is_grey:
        picture = picture.getchannel(0)
    name, options = _writer(found.image, data)
    profile = found.image.info.get("icc_profile")
    if profile and name in ("JPEG", "PNG", "WEBP", "TIFF") and found.image.mode in ("RGB", "L"):
        options["icc_profile"] = profile
    buffer = io.BytesIO()
    picture.save(buffer, format=name, **options)
    return buffer.getvalue(), EXTENSIONS[name]


def _writer(image: ImageFile.ImageFile, data: bytes) -> tuple[str, dict[str, Any]]:
    """The format to write a changed image in, and options that make equal bytes every time."""
    match image.format:
        case "JPEG" | "MPO":
            sampling = JpegImagePlugin.get_sampling(image)
            return "JPEG", {"quality": 95, "subsampling": sampling if sampling >= 0 else 0}
        case "HEIF":
            return "JPEG", {"quality": 95, "subsampling": 0}
        case "WEBP":
            return "WEBP", {"lossless": data[12:16] == b"VP8L", "quality": 95, "method": 4}
        case "TIFF":
            return "TIFF", {"compression": "tiff_adobe_deflate"}
        case "AVIF":
            return "AVIF", {"quality": 90, "speed": 6, "max_threads": 1}
        case "BMP" | "JPEG2000" | "PPM" as name:
            return name, {}
    return "PNG", {}
