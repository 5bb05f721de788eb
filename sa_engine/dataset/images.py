"""From an image file's bytes to upright 8-bit RGB, and to the bytes that the dataset keeps.

Rules, one per kind of file:
* upright by EXIF orientation (EXIF of JPEG, PNG, WebP, TIFF, AVIF);
* transparency is dropped: the colours as stored, as the model's usual readers take them;
* palette, CMYK, YCCK, Lab and grayscale become RGB; colour profiles are not applied;
* 16-bit values v become round(v / 257); 32-bit integers likewise if none is over 65,535, else they
  are stretched from their minimum and maximum to 0..255;
* floats in [0, 1] are scaled by 255, floats in [0, 255] are kept, others are stretched; what is not
  finite becomes 0;
* of several frames or pages, the first.
"""

import contextlib
import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageCms, ImageFile, JpegImagePlugin

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
)
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


def _open(data: bytes) -> ImageFile.ImageFile:
    """Recognise a file. Pillow's own `open` is not used: its pixel limit is one per process."""
    Image.init()
    prefix = data[:_PREFIX]
    refused: Exception | None = None
    for name in _EXTENSIONS:
        if name not in Image.OPEN:
            continue
        factory, accepts = Image.OPEN[name]
        verdict = True if accepts is None else accepts(prefix)
        if not verdict or isinstance(verdict, str):
            continue
        try:
            image = factory(io.BytesIO(data), "")
        except (SyntaxError, IndexError, TypeError, KeyError, EOFError, struct.error) as error:
            refused = error
            continue
        if not isinstance(image, ImageFile.ImageFile):
            continue
        return image
    if data[4:12] in (b"ftypheic", b"ftypheix", b"ftypmif1", b"ftyphevc", b"ftypmsf1"):
        raise ImageError("unreadable", "HEIF photographs are not supported: convert it to JPEG")
    if refused is not None and prefix.startswith(_SIGNATURES):
        raise ImageError("truncated", f"its header is cut or damaged ({refused})")
    raise ImageError("not-an-image", "it has no signature of a known image format")


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
    image.load()
    if image.format in ("JPEG", "MPO"):
        # The decoder fills what is missing with grey when a file was padded after the cut.
        scan = data.rfind(b"\xff\xda")
        if scan >= 0 and data.find(b"\xff\xd9", scan) < 0:
            raise ImageError("truncated", "the JPEG has no end mark")


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


@contextlib.contextmanager
def _decoding(data: bytes) -> Iterator[None]:
    """Whatever goes wrong with the file becomes an ImageError with its reason."""
    if not data:
        raise ImageError("empty", "the file has no bytes")
    try:
        yield
    except ImageError:
        raise
    except MemoryError as error:
        raise ImageError("too-large", "there is not enough memory to decode it") from error
    except Exception as error:
        text = f"{error}" or type(error).__name__
        lowered = text.lower()
        cut = any(word in lowered for word in ("truncat", "unexpected end", "not enough", "eof"))
        raise ImageError("truncated" if cut else "unreadable", text) from error
