"""Compressed pixels that are not whole, which decoders pass over in silence."""

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sa_engine.dataset.images.reading import read_image, read_rgb
from sa_engine.errors import ImageError

RNG = np.random.default_rng(1)
BLOCKS = np.kron(RNG.integers(0, 256, (12, 16, 3)), np.ones((16, 16, 1)))
PIXELS = np.clip(BLOCKS + RNG.normal(0, 9, BLOCKS.shape), 0, 255).astype(np.uint8)
PICTURE = Image.fromarray(PIXELS)


def encode(form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    PICTURE.save(buffer, form, **options)
    return buffer.getvalue()


def refusal(data: bytes) -> ImageError:
    with pytest.raises(ImageError) as error:
        read_image(data)
    return error.value


def chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    """(kind, content) of a PNG's chunks."""
    found, place = [], 8
    while place < len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        found.append((kind, data[place + 8 : place + 8 + length]))
        place += 12 + length
    return found


def png(parts: list[tuple[bytes, bytes]]) -> bytes:
    body = b""
    for kind, content in parts:
        checksum = zlib.crc32(kind + content)
        body += struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)
    return b"\x89PNG\r\n\x1a\n" + body


def test_one_flipped_bit_of_a_png_is_found_wherever_it_is() -> None:
    data = encode("PNG")
    assert png(chunks(data)) == data
    start = data.index(b"IDAT") + 4
    for place in RNG.integers(start, len(data) - 16, 40):
        damaged = bytearray(data)
        damaged[place] ^= 1 << int(RNG.integers(8))
        assert refusal(bytes(damaged)).reason in ("damaged", "truncated", "unreadable")


@pytest.mark.parametrize("exif", [False, True])
def test_half_the_pixels_of_a_png_with_right_checksums(exif: bool) -> None:
    parts = chunks(encode("PNG", exif=b"Exif\0\0II*\0\x08\0\0\0\0\0") if exif else encode("PNG"))
    pixels = b"".join(content for kind, content in parts if kind == b"IDAT")
    rest = [part for part in parts if part[0] not in (b"IDAT", b"IEND")]
    whole = png([*rest, (b"IDAT", pixels), (b"IEND", b"")])
    np.testing.assert_array_equal(read_rgb(whole), PIXELS)
    half = png([*rest, (b"IDAT", pixels[: len(pixels) // 2]), (b"IEND", b"")])
    assert refusal(half).reason == "truncated"


@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"subsampling": 2}, {"restart_marker_rows": 2}]
)
def test_jpegs_cut_and_closed_again(options: dict[str, Any]) -> None:
    data = encode("JPEG", quality=92, **options)
    assert read_image(data).notes == {}
    for share in (0.3, 0.6, 0.9):
        cut = data[: int(len(data) * share)] + b"\xff\xd9"
        assert refusal(cut).reason == "truncated"


def test_a_jpeg_with_bytes_that_nobody_reads_is_noted() -> None:
    data = encode("JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    stored = read_image(data[:last] + b"12345678" + data[last:])
    assert "extraneous bytes" in stored.notes["decoder"]
    assert stored.size_hw == (192, 256)


def test_a_jpeg_of_thousands_of_scans_is_refused_before_it_is_decoded() -> None:
    data = encode("JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    scan = data[last:-2]
    many = data[:-2] + scan * 60_000 + b"\xff\xd9"
    error = refusal(many)
    assert error.reason == "too-costly" and "scans of 49152 pixels" in str(error)
    assert read_image(data[:-2] + scan * 5 + b"\xff\xd9").size_hw == (192, 256)


def test_a_jpeg2000_without_some_of_its_tiles() -> None:
    data = encode("JPEG2000", tile_size=(64, 64))
    np.testing.assert_array_equal(read_rgb(data), PIXELS)
    start = data.index(b"\xff\x90\x00\x0a")
    length = struct.unpack_from(">I", data, start + 6)[0]
    error = refusal(data[:start] + data[start + length :])
    assert error.reason == "truncated" and "1 of 12 tiles are missing" in str(error)
