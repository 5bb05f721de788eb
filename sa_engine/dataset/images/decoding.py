"""Recognising and decoding image files with Pillow, on this engine's terms.

A file that ends too early is an error; a limit of pixels is the caller's, not the process's; all
that goes wrong is an ImageError with its reason.
"""

import contextlib
import functools
import io
import re
import struct
import threading
import warnings
from collections.abc import Iterator

from PIL import Image, ImageFile

from sa_engine.dataset.images.integrity import (
    check_deflated,
    check_jpeg,
    check_jpeg2000,
    check_png,
)
from sa_engine.dataset.images.tiff import deflated_pieces, refusal
from sa_engine.errors import ImageError

EXTENSIONS = {
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
    "HEIF": "jpg",
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
_HEIF = (b"ftypheic", b"ftypheix", b"ftyphevc", b"ftypheim", b"ftypheis", b"ftypmif1", b"ftypmsf1")
_AVIF = (b"ftypavif", b"ftypavis")
_CUT = re.compile(
    r"truncat|unexpected end|not enough|\bEOF\b|but only got|broken data stream|buffer of at least"
    r"|could not create decoder|index out of range",
    re.IGNORECASE,
)
"""How the decoders say that a file ends too early."""
_PREFIX = 16


@contextlib.contextmanager
def decoding(data: bytes) -> Iterator[None]:
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


def recognise(data: bytes) -> ImageFile.ImageFile:
    """Recognise a file. Pillow's own `open` is not used: its pixel limit is one per process."""
    Image.init()
    prefix = data[:_PREFIX]
    reads_heif = data[4:12] in _HEIF and _with_heif()
    refused: Exception | None = None
    for name in EXTENSIONS:
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
    if data[4:12] in _HEIF and not reads_heif:
        raise ImageError(
            "unsupported",
            "reading HEIC photographs needs pillow-heif: pip install 'sa-engine[heic]'",
        )
    if refused is not None and (prefix.startswith(_SIGNATURES) or data[4:12] in (*_AVIF, *_HEIF)):
        raise refusal(data) or ImageError("truncated", f"its header is cut or damaged ({refused})")
    raise ImageError("not-an-image", "it begins like no image format that is read")


def check_beginning(head: bytes) -> None:
    """ImageError, "not-an-image", if a file begins like no format that is read.

    head: its first 16 bytes or more; for files that are too long to be read in vain.
    """
    Image.init()
    if head[4:12] in _HEIF:
        return
    for name in EXTENSIONS:
        accepts = Image.OPEN[name][1] if name in Image.OPEN else None
        if accepts is not None and accepts(head[:_PREFIX]):
            return
    raise ImageError("not-an-image", "it begins like no image format that is read")


@functools.cache
def _with_heif() -> bool:
    """Let Pillow read HEIF, if the package that does so is installed."""
    try:
        import pillow_heif
    except ImportError:
        return False
    pillow_heif.register_heif_opener(thumbnails=False)
    return True


def check_size(image: Image.Image, max_pixels: int) -> None:
    width, height = image.size
    if width * height > max_pixels:
        raise ImageError(
            "too-large",
            f"{width}x{height} is {width * height} pixels, over the limit of {max_pixels}",
        )
    if not width or not height:
        raise ImageError("unreadable", f"{width}x{height} has no pixels")


def check_stream(image: ImageFile.ImageFile, data: bytes) -> str | None:
    """What is odd about a file's compressed pixels. ImageError if they are not whole."""
    match image.format:
        case "JPEG" | "MPO":
            return check_jpeg(data, image.width * image.height)
        case "PNG":
            check_png(data)
        case "JPEG2000":
            check_jpeg2000(data)
        case "TIFF":
            check_deflated(deflated_pieces(image, data))
    return None


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
