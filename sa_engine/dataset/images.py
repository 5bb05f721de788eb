"""From an image file's bytes to upright 8-bit RGB, and to the bytes that the dataset keeps.

Upright means by EXIF orientation (EXIF of JPEG, PNG, WebP, TIFF, AVIF); colours follow pixels.py;
of several frames or pages the first counts. A file that ends too early is an error, never a picture
with a grey part.
"""

import contextlib
import io
import re
import struct
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile, JpegImagePlugin

from sa_engine.dataset.pixels import to_rgb
from sa_engine.errors import ImageError

DEFAULT_MAX_PIXELS = 200_000_000
"""Largest image that is decoded, pixels."""

_EXTENSIONS = {
    "JPEG": "jpg",
    "MPO": "jpg",
    "PNG": "png",
    "WEBP": "webp",
    "TIFF": "tif",
    "BMP": "bmp",
    "DIB": "bmp",
    "GIF": "gif",
    "JPEG2000": "jp2",
    "PPM": "ppm",
    "AVIF": "avif",
    "PCX": "pcx",
    "SGI": "sgi",
    "QOI": "qoi",
}
"""The formats that are read, and the ending under which each is kept. Formats whose readers run
other programs (EPS) or that have no signature (TGA) are left out on purpose."""

_SIGNATURES = (
    b"\xff\xd8\xff",
    b"\x89PNG\r\n\x1a\n",
    b"GIF87a",
    b"GIF89a",
    b"BM",
    b"II*\0",
    b"MM\0*",
    b"\0\0\0\x0cjP  ",
    b"\xff\x4f\xff\x51",
    b"qoif",
    b"RIFF",
)
_HEIF = (b"ftypheic", b"ftypheix", b"ftyphevc", b"ftypmif1", b"ftypmsf1")
_AVIF = (b"ftypavif", b"ftypavis")
_CUT = re.compile(
    r"truncat|unexpected end|not enough|\bEOF\b|but only got|broken data stream|buffer of at least"
    r"|could not create decoder|index out of range",
    re.IGNORECASE,
)
"""How the decoders say that a file ends too early."""
_PREFIX = 16


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
    with _decoding(data):
        image = _open(data)
        _check_size(image, max_pixels)
        orientation = _orientation(image)
        _load(image, data)
        if _is_tiff(image):
            # Pillow has turned it already, in `load`.
            turned: Image.Image = image
        else:
            turned = _turn(image, orientation)
        target = _target_size(turned.size, shortest_side)
        rgb = to_rgb(turned)
        if orientation == 1 and target == turned.size:
            return StoredImage(rgb, data, _EXTENSIONS[image.format or "PNG"])
        return _reencode(image, data, rgb, grey=_is_grey(turned), size_wh=target)


def read_rgb(data: bytes, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> NDArray[np.uint8]:
    """Decode an image file to upright (H, W, 3) uint8 RGB. Raises ImageError as `read_image`."""
    with _decoding(data):
        image = _open(data)
        _check_size(image, max_pixels)
        orientation = _orientation(image)
        _load(image, data)
        return to_rgb(image if _is_tiff(image) else _turn(image, orientation))


def read_size_hw(data: bytes) -> tuple[int, int]:
    """Upright (height, width) from an image file's header alone.

    Raises ImageError as `read_image` does.
    """
    with _decoding(data):
        image = _open(data)
        width, height = image.size
        # Pillow gives a turned TIFF's size as it will be after `load`.
        turned = not _is_tiff(image) and _orientation(image) >= 5
        return (width, height) if turned else (height, width)


def _open(data: bytes) -> ImageFile.ImageFile:
    """Recognise a file. Pillow's own `open` is not used: its pixel limit is one per process."""
    Image.init()
    prefix = data[:_PREFIX]
    refused: Exception | None = None
    for name in _EXTENSIONS:
        if name not in Image.OPEN:
            continue
        factory, accepts = Image.OPEN[name]
        try:
            verdict = True if accepts is None else accepts(prefix)
            if verdict is not True:
                continue
            image = factory(io.BytesIO(data), "")
        except (SyntaxError, IndexError, TypeError, KeyError, EOFError, struct.error) as error:
            refused = error
            continue
        if isinstance(image, ImageFile.ImageFile):
            return image
    if data[4:12] in _HEIF:
        raise ImageError("unreadable", "HEIF photographs are not supported: convert it to JPEG")
    if refused is not None and (prefix.startswith(_SIGNATURES) or data[4:12] in _AVIF):
        raise ImageError("truncated", f"its header is cut or damaged ({refused})")
    raise ImageError("not-an-image", "it begins like no image format that is read")


def _check_size(image: Image.Image, max_pixels: int) -> None:
    width, height = image.size
    if width * height > max_pixels:
        raise ImageError(
            "too-large",
            f"{width}x{height} is {width * height} pixels, over the limit of {max_pixels}",
        )
    if not width or not height:
        raise ImageError("unreadable", f"{width}x{height} has no pixels")


def _orientation(image: ImageFile.ImageFile) -> int:
    """EXIF orientation, 1..8; 1 where it is absent or nonsense. Asked before `load` drops it."""
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # Damaged EXIF raises nearly anything; the pixels may be fine.
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


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


def _is_tiff(image: Image.Image) -> bool:
    return image.format == "TIFF"


def _is_grey(image: Image.Image) -> bool:
    return image.mode in ("1", "L", "LA", "I", "F") or image.mode.startswith("I;16")


def _load(image: ImageFile.ImageFile, data: bytes) -> None:
    # The decoder fills what is missing with grey where a file was padded after the cut.
    is_jpeg = image.format in ("JPEG", "MPO")
    if is_jpeg and data.find(b"\xff\xd9", _first_scan(data)) < 0:
        raise ImageError("truncated", "the JPEG has no end mark")
    image.load()


def _first_scan(data: bytes) -> int:
    """Where a JPEG's compressed pixels begin; a thumbnail in its metadata is stepped over."""
    place = 2
    while data[place : place + 1] == b"\xff":
        marker = data[place + 1]
        if marker == 0xDA:
            return place
        if marker == 0xFF:  # a fill byte
            place += 1
        elif marker == 0x01 or 0xD0 <= marker <= 0xD8:  # markers without a length
            place += 2
        else:
            place += 2 + int.from_bytes(data[place + 2 : place + 4])
    return 0


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
    return StoredImage(read_rgb(written, max_pixels=rgb.size), written, _EXTENSIONS[name])


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


class _Quiet:
    """Ignores Pillow's warnings while any thread decodes.

    What they tell of either fails all the same or is harmless. Python's filters belong to the whole
    process, so threads that come and go must not restore each other's.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._filters: warnings.catch_warnings[None] | None = None

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._filters = warnings.catch_warnings()
                self._filters.__enter__()
                warnings.filterwarnings("ignore", module=r"PIL\.")
            self._inside += 1

    def __exit__(self, *exception: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside and self._filters is not None:
                self._filters.__exit__(None, None, None)
                self._filters = None


_QUIET = _Quiet()


@contextlib.contextmanager
def _decoding(data: bytes) -> Iterator[None]:
    """Whatever goes wrong with the file becomes an ImageError with its reason."""
    if not data:
        raise ImageError("empty", "the file has no bytes")
    try:
        with _QUIET:
            yield
    except ImageError:
        raise
    except MemoryError as error:
        raise ImageError("too-large", "there is not enough memory to decode it") from error
    except Exception as error:
        text = f"{error}" or type(error).__name__
        raise ImageError("truncated" if _CUT.search(text) else "unreadable", text) from error
