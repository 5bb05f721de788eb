"""TIFF layouts: which are read, by what, and how the others are named.

Source: TIFF 6.0 (Adobe, 1992), with the sample formats of its section 19. Pillow keeps 8 bits of
colours of 16, takes planes of 16 bits for rows, and reads big floats of compressed files in the
wrong byte order; OpenCV reads those, but not planes. So each plane is read as a grey picture of its
own.
"""

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import TiffImagePlugin

from sa_engine.errors import ImageError

_UNSIGNED, _SIGNED, _FLOAT = 1, 2, 3
_KINDS = {_UNSIGNED: "unsigned integers", _SIGNED: "signed integers", _FLOAT: "floats"}
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB = 0, 1, 2
_PLAIN, _DEFLATED = 1, (8, 32946)

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 256, 257, 258, 259, 262
_STRIP_OFFSETS, _ORIENTATION, _SAMPLES, _ROWS, _STRIP_BYTES = 273, 274, 277, 278, 279
_PLANAR, _PREDICTOR, _FORMAT = 284, 317, 339
_TILE_W, _TILE_H, _TILE_OFFSETS, _TILE_BYTES = 322, 323, 324, 325


@dataclass(frozen=True, slots=True)
class Layout:
    """How a TIFF's pixels lie. bits, kinds: of each sample; is_planar: a plane for each sample."""

    bits: tuple[int, ...]
    kinds: tuple[int, ...]
    photometric: int
    compression: int
    is_planar: bool
    is_big_endian: bool

    def __str__(self) -> str:
        kinds = " and ".join(_KINDS.get(kind, f"kind {kind}") for kind in dict.fromkeys(self.kinds))
        bits = " and ".join(map(str, dict.fromkeys(self.bits)))
        how = "in planes, " if self.is_planar else ""
        count = len(self.bits)
        return (
            f"{count} sample{'s' if count != 1 else ''} a pixel, {how}{kinds} of {bits} bits, "
            f"photometric interpretation {self.photometric}, compression {self.compression}"
        )


def refusal(data: bytes) -> ImageError | None:
    """Why a TIFF with a sound directory is not read; None if its directory cannot be read."""
    try:
        head = data[:16] if data[2:4] in (b"+\0", b"\0+") else data[:8]
        directory = TiffImagePlugin.ImageFileDirectory_v2(head)
        file = io.BytesIO(data)
        file.seek(directory.next)
        directory.load(file)
        layout = layout_of(directory)
    except Exception:  # A damaged directory raises nearly anything.
        return None
    is_whole = all(tag in directory for tag in (_WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC))
    has_pixels = _STRIP_OFFSETS in directory or _TILE_OFFSETS in directory
    return _unsupported(layout) if is_whole and has_pixels else None


def layout_of(directory: Any) -> Layout:
    """The layout that a directory (Pillow's `tag_v2`) states."""
    samples = int(directory.get(_SAMPLES, 1))
    bits = tuple(directory.get(_BITS, (1,)))
    kinds = tuple(directory.get(_FORMAT, (_UNSIGNED,)))
    return Layout(
        bits=bits * samples if len(bits) == 1 else bits,
        kinds=kinds * samples if len(kinds) == 1 else kinds,
        photometric=int(directory.get(_PHOTOMETRIC, _BLACK_IS_ZERO)),
        compression=int(directory.get(_COMPRESSION, _PLAIN)),
        is_planar=samples > 1 and directory.get(_PLANAR, 1) == 2,
        is_big_endian=directory.prefix == b"MM",
    )


def read_tiff(image: Any, data: bytes) -> NDArray[Any] | None:
    """The values of a TIFF that Pillow does not read right; None if Pillow does.

    image: the file as Pillow recognised it, before `load`.
    Returns (H, W) or (H, W, 3), uint16 or float32, as stored: not turned upright.
    Raises ImageError, "unsupported", for layouts that nothing reads surely.
    """
    layout = layout_of(image.tag_v2)
    bits, kinds = set(layout.bits), set(layout.kinds)
    if len(bits) > 1 or len(kinds) > 1 or not kinds <= {_UNSIGNED, _SIGNED, _FLOAT}:
        raise _unsupported(layout)
    deepest, kind, samples = max(bits), kinds.pop(), len(layout.bits)
    # Pillow has no names for bare planes beyond those of colours.
    is_odd = layout.is_planar and layout.compression == _PLAIN and samples not in (3, 4)
    if deepest < 16 and kind == _UNSIGNED and not is_odd:
        return None
    if kind == _UNSIGNED and deepest == 16:
        if layout.is_planar:
            return _planes(image, data, layout)
        if samples == 1 and layout.photometric in (_WHITE_IS_ZERO, _BLACK_IS_ZERO):
            return None
        if layout.photometric == _RGB and samples in (3, 4):
            return _by_opencv(data, layout)
    is_wide = deepest == 32 or (kind == _SIGNED and deepest == 16)
    if samples == 1 and layout.photometric == _BLACK_IS_ZERO and is_wide:
        return _by_opencv(data, layout) if layout.is_big_endian else None
    if kind == _UNSIGNED and deepest == 16 and layout.photometric == 5 and samples == 4:
        return None
    raise _unsupported(layout)


def deflated_pieces(image: Any, data: bytes) -> Iterator[memoryview]:
    """The strips or tiles of a TIFF that is compressed with zlib; none of others.

    image: the file as Pillow recognised it, before `load`.
    """
    directory, view = image.tag_v2, memoryview(data)
    if directory.get(_COMPRESSION, _PLAIN) not in _DEFLATED:
        return
    for offsets, sizes in ((_STRIP_OFFSETS, _STRIP_BYTES), (_TILE_OFFSETS, _TILE_BYTES)):
        for offset, size in zip(directory.get(offsets, ()), directory.get(sizes, ()), strict=False):
            yield view[offset : offset + size]


def is_negative(image: Any) -> bool:
    """Whether 0 is white where Pillow passes it over: in grey of 16 bits."""
    layout = layout_of(image.tag_v2)
    return layout.photometric == _WHITE_IS_ZERO and max(layout.bits) > 8


def _unsupported(layout: Layout) -> ImageError:
    return ImageError(
        "unsupported", f"a TIFF of an unsupported layout ({layout}): convert it to 8-bit RGB"
    )


def _by_opencv(data: bytes, layout: Layout) -> NDArray[Any]:
    plain = _as_if_upright(data)
    values = cv2.imdecode(np.frombuffer(plain, np.uint8), cv2.IMREAD_UNCHANGED)
    deep = (np.uint16, np.int16, np.int32, np.float32)
    if values is None:
        raise ImageError(
            "unreadable",
            f"the pixels of a TIFF ({layout}) are damaged, or compressed in a way that is not "
            "supported: convert it to 8-bit RGB",
        )
    if values.dtype not in deep:
        raise _unsupported(layout)
    return values[:, :, 2::-1] if values.ndim == 3 else values


def _as_if_upright(data: bytes) -> bytes:
    """The file with orientation 1: OpenCV's releases disagree about turning."""
    order = ">" if data[:2] == b"MM" else "<"
    if data[2:4] not in (b"*\0", b"\0*"):
        raise ImageError("unsupported", "a BigTIFF of deep colours: convert it to 8-bit RGB")
    (place,) = struct.unpack_from(f"{order}I", data, 4)
    (count,) = struct.unpack_from(f"{order}H", data, place)
    for entry in range(place + 2, place + 2 + 12 * count, 12):
        if struct.unpack_from(f"{order}H", data, entry)[0] == _ORIENTATION:
            upright = struct.pack(f"{order}HIHH", 3, 1, 1, 0)
            return data[: entry + 2] + upright + data[entry + 12 :]
    return data


def _planes(image: Any, data: bytes, layout: Layout) -> NDArray[np.uint16]:
    """The first plane, or the first three of colours, each read as a grey picture of its own."""
    is_colour = layout.photometric == _RGB and len(layout.bits) in (3, 4)
    if not is_colour and (layout.photometric != _BLACK_IS_ZERO or len(layout.bits) > 2):
        raise _unsupported(layout)
    width, height = image.tag_v2[_WIDTH], image.tag_v2[_HEIGHT]
    values = np.empty((height, width, 3 if is_colour else 1), np.uint16)
    for plane in range(values.shape[2]):
        single = _one_plane(image.tag_v2, data, plane, len(layout.bits))
        with TiffImagePlugin.TiffImageFile(io.BytesIO(single)) as grey:
            values[:, :, plane] = np.asarray(grey)
    return values if is_colour else values[:, :, 0]


def _one_plane(directory: Any, data: bytes, plane: int, count: int) -> bytes:
    """The file with another directory, of one plane alone."""
    if data[2:4] not in (b"*\0", b"\0*"):
        raise ImageError("unsupported", "a BigTIFF in planes: convert it to 8-bit RGB")
    tags: dict[int, tuple[int, ...]] = {
        _WIDTH: (directory[_WIDTH],),
        _HEIGHT: (directory[_HEIGHT],),
        _BITS: (16,),
        _COMPRESSION: (directory.get(_COMPRESSION, _PLAIN),),
        _PHOTOMETRIC: (_BLACK_IS_ZERO,),
        _SAMPLES: (1,),
        _FORMAT: (_UNSIGNED,),
    }
    for tag in (_ROWS, _PREDICTOR, _TILE_W, _TILE_H):
        if tag in directory:
            tags[tag] = (int(directory[tag]),)
    for tag in (_STRIP_OFFSETS, _STRIP_BYTES, _TILE_OFFSETS, _TILE_BYTES):
        if tag in directory:
            each, left = divmod(len(directory[tag]), count)
            if left or not each:
                raise ImageError("unreadable", f"{len(directory[tag])} pieces in {count} planes")
            tags[tag] = tuple(directory[tag][plane * each : (plane + 1) * each])
    order = ">" if directory.prefix == b"MM" else "<"
    start = len(data) + len(data) % 2
    values_at = start + 2 + 12 * len(tags) + 4
    entries, values = b"", b""
    for tag, numbers in sorted(tags.items()):
        packed = struct.pack(f"{order}{len(numbers)}I", *numbers)
        if len(numbers) > 1:
            values, packed = values + packed, struct.pack(f"{order}I", values_at + len(values))
        entries += struct.pack(f"{order}HHI", tag, 4, len(numbers)) + packed
    head = data[:4] + struct.pack(f"{order}I", start)
    listed = struct.pack(f"{order}H", len(tags)) + entries + bytes(4) + values
    return b"".join((head, memoryview(data)[8:], bytes(start - len(data)), listed))
