"""Wherever a file says which way up it is, reader and import are told the same."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from sa_engine.dataset.images.orientation import turned
from sa_engine.dataset.images.reading import read_image, read_size_hw

PIXELS = np.arange(20 * 30 * 3).reshape(20, 30, 3).astype(np.uint8)
PICTURE = Image.fromarray(PIXELS)
XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-'
    b'syntax-ns#"><rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" '
    b'tiff:Orientation="6"/>'
    b"</rdf:RDF></x:xmpmeta>"
)


def exif() -> Image.Exif:
    tags = Image.Exif()
    tags[0x112] = 6
    return tags


def save(form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    PICTURE.save(buffer, form, **options)
    return buffer.getvalue()


def raw_profile() -> bytes:
    """EXIF as ImageMagick puts it into a PNG: hexadecimal, in a text chunk."""
    body = b"Exif\0\0" + exif().tobytes().removeprefix(b"Exif\0\0")
    info = PngImagePlugin.PngInfo()
    text = f"\nexif\n{len(body):8}\n{body.hex()}\n"
    info.add_text("Raw profile type exif", text, zip=True)
    return save("PNG", pnginfo=info)


def late_exif() -> bytes:
    """A PNG whose EXIF chunk follows its pixels."""
    plain, body = save("PNG"), exif().tobytes().removeprefix(b"Exif\0\0")
    chunk = struct.pack(">I", len(body)) + b"eXIf" + body
    chunk += struct.pack(">I", zlib.crc32(b"eXIf" + body))
    end = plain.index(b"IEND") - 4
    return plain[:end] + chunk + plain[end:]


def xmp_in_png() -> bytes:
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", XMP.decode())
    return save("PNG", pnginfo=info)


def far_exif() -> bytes:
    """A JPEG whose EXIF comes after 200 KB of other notes."""
    data = save("JPEG", exif=exif().tobytes())
    notes = (b"\xff\xee" + struct.pack(">H", 60_002) + bytes(60_000)) * 4
    return data[:2] + notes + data[2:]


FILES = {
    "jpeg": save("JPEG", exif=exif().tobytes()),
    "jpeg, xmp alone": save("JPEG", xmp=XMP),
    "jpeg, far": far_exif(),
    "webp": save("WEBP", exif=exif().tobytes()),
    "avif": save("AVIF", exif=exif().tobytes()),
    "png": save("PNG", exif=exif()),
    "png, raw profile": raw_profile(),
    "png, late": late_exif(),
    "png, xmp": xmp_in_png(),
    "tiff": save("TIFF", exif=exif()),
}


@pytest.mark.parametrize("name", FILES)
def test_every_place_of_the_note_is_known(name: str) -> None:
    stored = read_image(FILES[name])
    assert stored.orientation == 6
    assert stored.size_hw == read_size_hw(FILES[name]) == (30, 20)


def test_turning_goes_for_arrays_of_any_rank() -> None:
    flat = np.arange(6).reshape(2, 3)
    assert turned(flat, 6).tolist() == [[3, 0], [4, 1], [5, 2]]
    assert turned(flat[..., None], 6)[..., 0].tolist() == turned(flat, 6).tolist()
    assert turned(flat, 1) is flat
