"""Whether a file's compressed pixels are whole: what Pillow's decoders pass over in silence.

PNG ("Portable Network Graphics", third edition, section 5.3): every chunk has a checksum. JPEG
(ITU-T T.81, annex B): libjpeg fills what is missing with grey and only warns; a second decoder, at
an eighth of the size, turns its warnings into errors. JPEG 2000 (ITU-T T.800, annex A): every tile
of the grid has a part in the file.
"""

import re
import struct
import zlib
from collections.abc import Iterable, Iterator

import simplejpeg

from sa_engine.errors import ImageError

MOST_SCANS = 16
"""Scans of a JPEG that are decoded whatever its size; programs write 1 to 12."""

MOST_SCANNED = 2_000_000_000
"""Pixels times scans of a JPEG of more scans: some ten seconds of decoding."""

_PNG_HEAD = 8
_AT_ONCE = 1 << 20
_MARKER = re.compile(rb"\xff+([\x01-\xcf\xd8-\xfe])")
_MISSING = re.compile(r"premature end", re.IGNORECASE)
_BROKEN = re.compile(r"bad huffman code|found marker|bad progression|corrupt .* bad", re.IGNORECASE)
_ODD = re.compile(r"corrupt jpeg data|extraneous", re.IGNORECASE)


def check_png(data: bytes) -> None:
    """ImageError for a chunk of pixels that is cut short or whose checksum is not its content's."""
    view, place = memoryview(data), _PNG_HEAD
    while place + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        end = place + 8 + length
        if kind == b"IDAT":
            if end + 4 > len(data):
                raise ImageError("truncated", f"its pixels end at byte {len(data)} of {end + 4}")
            if zlib.crc32(view[place + 4 : end]) != int.from_bytes(data[end : end + 4]):
                raise ImageError("damaged", f"the checksum of its pixels at byte {place} is wrong")
        if kind == b"IEND":
            return
        place = end + 4


def check_deflated(pieces: Iterable[memoryview]) -> None:
    """ImageError for a piece that zlib compressed and whose checksum is not its content's.

    Nothing is kept, so that a piece that unfolds to gigabytes costs time alone.
    """
    for number, piece in enumerate(pieces):
        stream, left = zlib.decompressobj(), bytes(piece)
        try:
            while left and not stream.eof:
                stream.decompress(left, _AT_ONCE)
                left = stream.unconsumed_tail
        except zlib.error as error:
            raise ImageError("damaged", f"piece {number} of its pixels: {error}") from error
        if not stream.eof:
            raise ImageError("truncated", f"piece {number} of its pixels ends too early")


def check_jpeg(data: bytes, num_pixels: int) -> str | None:
    """What a second decoder says of a JPEG that is whole all the same; None if nothing.

    Raises ImageError: "truncated", "damaged", or "too-costly" for one of thousands of scans.
    """
    scans, ended = _scans_of(data)
    limit = max(MOST_SCANS, MOST_SCANNED // num_pixels)
    if scans > limit:
        raise ImageError(
            "too-costly",
            f"{scans} scans of {num_pixels} pixels would take long to decode, limit {limit} scans: "
            "save it again",
        )
    if not ended:
        raise ImageError("truncated", "the JPEG has no end mark")
    try:
        simplejpeg.decode_jpeg(
            data, colorspace="GRAY", min_height=1, min_width=1, min_factor=8, strict=True
        )
    except ValueError as error:
        message = str(error)
    else:
        return None
    if _MISSING.search(message):
        raise ImageError("truncated", f"pixels are missing ({message})")
    if _BROKEN.search(message):
        raise ImageError("damaged", f"its pixels are damaged ({message})")
    # Kinds that this decoder does not know (arithmetic coding) are left to the other.
    return message if _ODD.search(message) else None


def check_jpeg2000(data: bytes) -> None:
    """ImageError for a JPEG 2000 that lacks tiles, or parts of tiles that it announces."""
    start = data.find(b"\xff\x4f\xff\x51")
    if start < 0:
        return
    try:
        right, below = struct.unpack_from(">2I", data, start + 8)
        tile_w, tile_h, left, top = struct.unpack_from(">4I", data, start + 24)
        num_tiles = -(-(right - left) // tile_w) * -(-(below - top) // tile_h)
        found, announced = _tile_parts(data, start)
    except (struct.error, ZeroDivisionError) as error:
        raise ImageError("truncated", f"its header is cut or damaged ({error})") from error
    missing = num_tiles - len(found)
    short = sum(found[tile] < announced.get(tile, 0) for tile in found)
    if missing > 0 or short:
        raise ImageError(
            "truncated", f"{missing} of {num_tiles} tiles are missing and {short} are not whole"
        )


def jpeg2000_bits(data: bytes) -> int:
    """Bits of a JPEG 2000's first channel; 0 if its header is damaged."""
    start = data.find(b"\xff\x4f\xff\x51")
    bits = data[start + 42 : start + 43] if start >= 0 else b""
    return (bits[0] & 127) + 1 if bits else 0


def _tile_parts(data: bytes, start: int) -> tuple[dict[int, int], dict[int, int]]:
    """Tile parts that are there, and the number that was announced, by tile."""
    found: dict[int, int] = {}
    announced: dict[int, int] = {}
    place = start + 2
    while place + 12 <= len(data) and data[place : place + 2] != b"\xff\xd9":
        if data[place : place + 2] != b"\xff\x90":
            if data[place] != 0xFF:
                break
            place += 2 + int.from_bytes(data[place + 2 : place + 4])
            continue
        tile, length, _, parts = struct.unpack_from(">HIBB", data, place + 4)
        found[tile] = found.get(tile, 0) + 1
        if parts:
            announced[tile] = parts
        if not length:  # the last one, up to the end mark
            break
        place += length
    return found, announced


def _scans_of(data: bytes) -> tuple[int, bool]:
    """Scans of a JPEG's first image, and whether its end mark follows them."""
    scans = 0
    for marker in _markers(data):
        scans += marker == 0xDA
        if marker == 0xD9 and scans:
            return scans, True
    return scans, False


def _markers(data: bytes) -> Iterator[int]:
    """The markers of a JPEG; lengths are stepped over, and so a thumbnail in its metadata."""
    place = 2
    while found := _MARKER.search(data, place):
        marker = found[1][0]
        yield marker
        place = found.end()
        if marker != 0x01 and marker not in (0xD8, 0xD9):
            place += max(2, int.from_bytes(data[place : place + 2]))
