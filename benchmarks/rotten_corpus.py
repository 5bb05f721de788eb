"""Several hundred damaged or strange image files, and what may become of each.

Every file is either read right (the pixels are known), or has one reason for which it is not.
"""

import io
import os
import socket
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

MAX_PIXELS = 50_000_000
"""The limit under which the corpus is to be read."""

OK = frozenset({"ok"})
CUT = frozenset({"ok", "truncated", "damaged", "not-an-image", "unreadable", "empty"})
NO_IMAGE = frozenset({"not-an-image", "unreadable"})
BOMB = frozenset({"too-large", "unreadable", "truncated"})
REFUSED = {"truncated", "damaged", "not-an-image", "unreadable", "unsupported"}
ANY = frozenset({"ok", *REFUSED, "too-large", "too-costly"})

SIDE_WH = (64, 32)
COLOURS = np.random.default_rng(3).integers(0, 256, (4, 8, 3), dtype=np.uint8)
PIXELS = np.kron(COLOURS, np.ones((8, 8, 1), dtype=np.uint8))
PICTURE = Image.fromarray(PIXELS)

LOSSLESS = ("PNG", "TIFF", "BMP", "PPM", "QOI", "SGI", "PCX")
FORMATS = (*LOSSLESS, "JPEG2000", "JPEG", "WEBP", "AVIF", "GIF")
ENDINGS = {
    "PNG": "png", "TIFF": "tif", "BMP": "bmp", "PPM": "ppm", "QOI": "qoi", "SGI": "sgi",
    "PCX": "pcx", "JPEG2000": "jp2", "JPEG": "jpg", "WEBP": "webp", "AVIF": "avif", "GIF": "gif",
}  # fmt: skip


@dataclass(frozen=True)
class Item:
    """One file of the corpus.

    kind: what is wrong with it, a word for counting.
    name: its path in the corpus, as bytes.
    allowed: "ok", or the reasons that it may have; "unlisted" if it is passed over as no file.
    size_hw: upright size if it is read; None where damage may have changed that too.
    pixels: what is read, exactly; None where the format loses some.
    make: puts it at a path.
    """

    kind: str
    name: bytes
    allowed: frozenset[str]
    size_hw: tuple[int, int] | None
    pixels: NDArray[np.uint8] | None
    make: Callable[[bytes], None]


def build(folder: Path) -> dict[bytes, Item]:
    """Write the corpus into an empty folder; its items by the names under which they are listed."""
    items = {}
    for item in every_item():
        path = os.path.join(os.fsencode(folder), item.name)  # noqa: PTH118 - bytes
        os.makedirs(os.path.dirname(path), exist_ok=True)  # noqa: PTH103, PTH120 - bytes
        item.make(path)
        items[item.name] = item
    # A folder that holds itself: what is in it is listed once.
    (folder / "names" / "again").symlink_to(folder, target_is_directory=True)
    return items


def every_item() -> Iterator[Item]:
    """All items, in a fixed order."""
    yield from cut_short()
    yield from changed_bytes()
    yield from endings()
    yield from strangers()
    yield from bombs()
    yield from shapes()
    yield from modes()
    yield from frames()
    yield from jpegs()
    yield from turned()
    yield from names()
    yield from links()


def encode(picture: Image.Image, form: str, **options: Any) -> bytes:
    """A picture as a file's bytes."""
    buffer = io.BytesIO()
    picture.save(buffer, form, **options)
    return buffer.getvalue()


def file(
    kind: str,
    name: str | bytes,
    data: bytes,
    allowed: frozenset[str] = OK,
    *,
    size_hw: tuple[int, int] | None = None,
    pixels: NDArray[np.uint8] | None = None,
) -> Item:
    """An item that is a plain file."""

    def make(path: bytes) -> None:
        with open(path, "wb") as opened:  # noqa: PTH123 - bytes
            opened.write(data)

    raw = os.fsencode(name)
    if pixels is not None:
        size_hw = (pixels.shape[0], pixels.shape[1])
    return Item(kind, raw, allowed, size_hw, pixels, make)


def cut_short() -> Iterator[Item]:
    """Every format, cut at many places; what is read of it must be the whole picture."""
    for form in FORMATS:
        data = encode(PICTURE, form)
        lengths = {0, 1, 4, 12, 30, len(data) - 1, len(data) - 2, len(data) - 9}
        lengths |= {len(data) * k // 12 for k in range(1, 12)}
        for length in sorted(each for each in lengths if 0 <= each < len(data)):
            name = f"cut/{form.lower()}-{length:05d}.{ENDINGS[form]}"
            exact = PIXELS if form in LOSSLESS else None
            yield file("cut", name, data[:length], CUT, size_hw=(32, 64), pixels=exact)
    data = encode(PICTURE, "JPEG", quality=95)
    padded = data[: len(data) // 2] + bytes(100_000)
    yield file("cut", "cut/padded.jpg", padded, frozenset({"truncated"}))


def changed_bytes() -> Iterator[Item]:
    """Every format with a few bytes changed at random: read as something, or refused."""
    draw = np.random.default_rng(11)
    for form in FORMATS:
        data = encode(PICTURE, form)
        for number in range(6):
            damaged = bytearray(data)
            for place in draw.integers(0, len(data), 1 + 2 * number):
                damaged[place] = int(draw.integers(0, 256))
            name = f"changed/{form.lower()}-{number}.{ENDINGS[form]}"
            yield file("changed", name, bytes(damaged), ANY)


def endings() -> Iterator[Item]:
    """Files under the ending of another format."""
    for number, form in enumerate(FORMATS):
        other = FORMATS[(number + 5) % len(FORMATS)]
        exact = PIXELS if form in LOSSLESS else None
        name = f"endings/{form.lower()}.{ENDINGS[other]}"
        yield file("wrong-ending", name, encode(PICTURE, form), size_hw=(32, 64), pixels=exact)
    yield file("wrong-ending", "endings/A.JPEG", encode(PICTURE, "PNG"), pixels=PIXELS)
    yield file("wrong-ending", "endings/B.PnG", encode(PICTURE, "PNG"), pixels=PIXELS)


def strangers() -> Iterator[Item]:
    """Files that are no images, under endings of images."""
    contents = {
        "text": b"hello, world\n",
        "zeros": bytes(5000),
        "ones": b"\xff" * 5000,
        "random": np.random.default_rng(1).bytes(5000),
        "pdf": b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\n",
        "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n",
        "zip": b"PK\x03\x04" + bytes(60),
        "gzip": b"\x1f\x8b\x08" + bytes(60),
        "svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        "html": b"<!DOCTYPE html><html><body>404</body></html>",
        "json": b'{"image": "no"}',
        "elf": b"\x7fELF\x02\x01\x01" + bytes(60),
        "mp4": b"\x00\x00\x00\x18ftypmp42" + bytes(60),
        "heic": b"\x00\x00\x00\x18ftypheic" + bytes(60),
        "psd": b"8BPS\0\1" + bytes(60),
        "webm": b"\x1a\x45\xdf\xa3" + bytes(60),
        "pickle": b"\x80\x04\x95\x05\x00\x00\x00\x00\x00\x00\x00]\x94.",
        "lfs": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n",
    }
    for number, (name, data) in enumerate(contents.items()):
        ending = ("jpg", "png", "tif", "webp")[number % 4]
        # With the extra `heic` the start of a HEIC file is known for what it is: a cut one.
        allowed = NO_IMAGE | {"truncated"} if name == "heic" else NO_IMAGE
        yield file("no-image", f"strangers/{name}.{ending}", data, allowed)
    for ending in ("jpg", "png", "gif"):
        yield file("empty", f"strangers/empty.{ending}", b"", frozenset({"empty"}))


def png_chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk of a PNG file, with its checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *chunks: bytes) -> bytes:
    """A PNG file of any size that is claimed."""
    header = struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + b"".join(chunks)


def bombs() -> Iterator[Item]:
    """Files that claim, or unpack to, far more than they are."""
    end = png_chunk(b"IEND", b"")
    packed = png_chunk(b"IDAT", zlib.compress(bytes(1 << 22), 9))
    for side in (8_000, 30_000, 65_535, 2_147_483_647):
        yield file("bomb", f"bombs/{side}.png", png(side, side, packed, end), BOMB)
    yield file("bomb", "bombs/wide.png", png(2_147_483_647, 1, packed, end), BOMB)
    text = png_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(1 << 26), 9))
    rows = b"".join(b"\0" + row.tobytes() for row in PIXELS)
    image = png_chunk(b"IDAT", zlib.compress(rows))
    yield file("bomb", "bombs/text.png", png(*SIDE_WH, text, image, end), ANY, pixels=PIXELS)
    profile = png_chunk(b"iCCP", b"p\0\0" + zlib.compress(bytes(1 << 26), 9))
    yield file("bomb", "bombs/icc.png", png(*SIDE_WH, profile, image, end), ANY, pixels=PIXELS)
    twice = png_chunk(b"IDAT", zlib.compress(rows * 4000))
    yield file("bomb", "bombs/long.png", png(*SIDE_WH, twice, end), ANY, pixels=PIXELS)
    gif = bytearray(encode(PICTURE, "GIF"))
    gif[6:10] = b"\xff\xff\xff\xff"
    yield file("bomb", "bombs/screen.gif", bytes(gif), ANY | {"too-large"})
    bmp = bytearray(encode(PICTURE, "BMP"))
    bmp[18:26] = struct.pack("<2i", 2_000_000, 2_000_000)
    yield file("bomb", "bombs/side.bmp", bytes(bmp), BOMB)
    jpeg = encode(PICTURE, "JPEG")
    place = jpeg.index(b"\xff\xc0") + 5
    large = jpeg[:place] + struct.pack(">2H", 65_500, 65_500) + jpeg[place + 4 :]
    yield file("bomb", "bombs/side.jpg", large, BOMB)
    yield file("bomb", "bombs/side.ppm", b"P6 99999 99999 255\n" + bytes(99), BOMB)
    directory = struct.pack("<H", 2)
    for tag in (256, 257):
        directory += struct.pack("<2H2I", tag, 4, 1, 2_147_483_647)
    hostile = b"II*\0\x08\0\0\0" + directory + bytes(4)
    yield file("bomb", "bombs/side.tif", hostile, BOMB | NO_IMAGE)
    circle = b"II*\0\x08\0\0\0" + struct.pack("<H", 0) + struct.pack("<I", 8)
    yield file("bomb", "bombs/circle.tif", circle, BOMB | NO_IMAGE)


def shapes() -> Iterator[Item]:
    """The smallest, the thinnest."""
    for form in FORMATS:
        name = f"shapes/1x1.{ENDINGS[form]}"
        yield file("shape", name, encode(Image.new("RGB", (1, 1), "red"), form), size_hw=(1, 1))
    for form in ("PNG", "JPEG", "TIFF", "BMP"):
        for width, height in ((1, 20_000), (20_000, 1), (3, 2), (2, 3000)):
            picture = Image.new("RGB", (width, height), "red")
            name = f"shapes/{width}x{height}.{ENDINGS[form]}"
            yield file("shape", name, encode(picture, form), size_hw=(height, width))
    for width, height in ((0, 0), (0, 5), (5, 0)):
        refused = frozenset({"unreadable", "truncated", "not-an-image"})
        yield file("shape", f"shapes/{width}x{height}.png", png(width, height), refused)


def modes() -> Iterator[Item]:
    """Grayscale, palettes, transparency, CMYK, deep colours."""
    grey = PICTURE.convert("L")
    three = np.repeat(np.asarray(grey)[:, :, None], 3, axis=2)
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    for form in ("PNG", "TIFF"):
        ending = ENDINGS[form]
        yield file("mode", f"modes/grey.{ending}", encode(grey, form), pixels=three)
        yield file("mode", f"modes/16.{ending}", encode(deep, form), pixels=three)
        bits = grey.point(lambda value: 255 * (value > 127)).convert("1")
        yield file("mode", f"modes/1.{ending}", encode(bits, form), size_hw=(32, 64))
    yield file("mode", "modes/grey.jpg", encode(grey, "JPEG"), size_hw=(32, 64))
    clear = PICTURE.copy()
    clear.putalpha(Image.linear_gradient("L").resize(SIDE_WH))
    for form in ("PNG", "TIFF"):
        yield file("mode", f"modes/rgba.{ENDINGS[form]}", encode(clear, form), pixels=PIXELS)
    yield file("mode", "modes/la.png", encode(clear.convert("LA"), "PNG"), size_hw=(32, 64))
    for colours in (2, 4, 16, 200):
        palette = PICTURE.quantize(colours)
        exact = np.asarray(palette.convert("RGB"))
        for form in ("PNG", "GIF", "BMP", "TIFF"):
            name = f"modes/palette-{colours}.{ENDINGS[form]}"
            yield file("mode", name, encode(palette, form), pixels=exact)
        seen = encode(palette, "PNG", transparency=0)
        yield file("mode", f"modes/clear-{colours}.png", seen, pixels=exact)
    for form in ("JPEG", "TIFF"):
        data = encode(PICTURE.convert("CMYK"), form)
        yield file("mode", f"modes/cmyk.{ENDINGS[form]}", data, size_hw=(32, 64))
    for kind, array in (
        ("int", np.asarray(grey).astype(np.int32) * 257),
        ("float", np.asarray(grey).astype(np.float32) / 255),
        ("nan", np.full((32, 64), np.nan, np.float32)),
        ("infinite", np.full((32, 64), np.inf, np.float32)),
    ):
        data = encode(Image.fromarray(array), "TIFF")
        yield file("mode", f"modes/{kind}.tif", data, size_hw=(32, 64))
    for method in ("tiff_lzw", "packbits", "tiff_adobe_deflate", "jpeg"):
        kept = None if method == "jpeg" else PIXELS
        data = encode(PICTURE, "TIFF", compression=method)
        yield file("mode", f"modes/{method}.tif", data, size_hw=(32, 64), pixels=kept)


def frames() -> Iterator[Item]:
    """Animations and files of several pages: the first counts."""
    first = np.zeros((7, 9, 3), np.uint8) + np.array([255, 0, 0], np.uint8)
    pictures = [Image.new("RGB", (9, 7), colour) for colour in ("red", "lime", "blue")]
    for form in ("GIF", "WEBP", "PNG", "TIFF"):
        options: dict[str, Any] = {"lossless": True} if form == "WEBP" else {}
        data = encode(pictures[0], form, save_all=True, append_images=pictures[1:], **options)
        yield file("frames", f"frames/three.{ENDINGS[form]}", data, pixels=first)
        broken = data[: len(data) - 8]
        yield file("frames", f"frames/cut.{ENDINGS[form]}", broken, CUT, pixels=first)
    many = encode(PICTURE, "MPO", save_all=True, append_images=[PICTURE])
    yield file("frames", "frames/mpo.jpg", many, size_hw=(32, 64))


def jpegs() -> Iterator[Item]:
    """Ways of writing a JPEG, and bytes around it."""
    ways: dict[str, dict[str, Any]] = {
        "progressive": {"progressive": True},
        "444": {"subsampling": 0},
        "422": {"subsampling": 1},
        "420": {"subsampling": 2},
        "worst": {"quality": 1},
        "best": {"quality": 100},
        "restarts": {"restart_marker_blocks": 1},
        "comment": {"comment": b"c" * 60_000},
        "icc": {"icc_profile": b"junk" * 100},
        "exif": {"exif": b"Exif\0\0II*\0\xff\xff\xff\x7f" + bytes(20)},
        "dpi": {"dpi": (0, 0)},
    }
    for name, options in ways.items():
        yield file("jpeg", f"jpeg/{name}.jpg", encode(PICTURE, "JPEG", **options), size_hw=(32, 64))
    data = encode(PICTURE, "JPEG")
    yield file("jpeg", "jpeg/trailer.jpg", data + b"\xff\xda trailer" * 99, size_hw=(32, 64))
    yield file("jpeg", "jpeg/filled.jpg", data[:2] + b"\xff" * 9 + data[3:], ANY)
    yield file("jpeg", "jpeg/twice.jpg", data + data, size_hw=(32, 64))
    yield file("jpeg", "jpeg/leading.jpg", b"\n" + data, NO_IMAGE)
    yield file("jpeg", "jpeg/tables.jpg", data[:2] + data[data.index(b"\xff\xc0") :], ANY)


def turned() -> Iterator[Item]:
    """EXIF orientations, sensible and not."""
    turns: dict[int, Callable[[NDArray[np.uint8]], NDArray[np.uint8]]] = {
        2: lambda p: p[:, ::-1],
        3: lambda p: p[::-1, ::-1],
        4: lambda p: p[::-1],
        5: lambda p: p.transpose(1, 0, 2),
        6: lambda p: np.rot90(p, -1),
        7: lambda p: np.rot90(p, 2).transpose(1, 0, 2),
        8: lambda p: np.rot90(p, 1),
    }
    for value in (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 77, 65_535):
        tags = Image.Exif()
        tags[0x112] = value
        exact = turns[value](PIXELS) if value in turns else PIXELS
        data = encode(PICTURE, "PNG", exif=tags)
        yield file("orientation", f"turned/{value}.png", data, pixels=exact)
        data = encode(PICTURE, "JPEG", exif=tags)
        yield file("orientation", f"turned/{value}.jpg", data, size_hw=exact.shape[:2])


def names() -> Iterator[Item]:
    """Names that trip programs up; the content is fine."""
    data = encode(PICTURE, "PNG")
    for name in (
        "a.b.c.png", "two..dots.png", "trailing dot..png", " leading space.png",
        "mit Umlaut ä.png", "combining a\u0308.png", "日本語.png", "עברית.png",
        "emoji 🍎.png", "zero\u200bwidth.png", "new\nline.png", "tab\tand\rreturn.png",
        "quote\"and'.png", "back\\slash.png",
        "a.tar!b.png", "percent%20%s.png", "-rf.png", "--help.png", "$HOME `id`.png", "CON.png",
        "#hash?query=1.png", "semi;colon&.png", "[brackets]*.png", "{curly}.png",
        "x" * 240 + ".png", "very/deep/" + "d/" * 30 + "deep.png", "folder.png/inside.png",
    ):  # fmt: skip
        yield file("name", f"names/{name}", data, pixels=PIXELS)
    for raw in (b"names/latin-\xe4.png", b"names/broken-\xff\xfe.png", b"names/\xed\xa0\x80.png"):
        yield file("name", raw, data, pixels=PIXELS)


def links() -> Iterator[Item]:
    """Links, and things that are no files."""

    def item(name: str, make: Callable[[bytes], None], *reasons: str) -> Item:
        exact = PIXELS if reasons == ("ok",) else None
        return Item("link", os.fsencode(f"links/{name}"), frozenset(reasons), None, exact, make)

    data = encode(PICTURE, "PNG")
    yield file("link", "links/real.png", data, pixels=PIXELS)
    yield item("to-real.png", _link_to("real.png"), "ok")
    yield item("dangling.png", _link_to("nowhere.png"), "missing")
    yield item("itself.png", _link_to("itself.png"), "unreadable", "missing")
    yield item("there.png", _link_to("back.png"), "unreadable", "missing")
    yield item("back.png", _link_to("there.png"), "unreadable", "missing")
    yield item("pipe.png", os.mkfifo, "unlisted")
    yield item("to-pipe.png", _link_to("pipe.png"), "unreadable")
    yield item("socket.png", _socket, "unlisted")
    yield file("link", "links/.hidden.png", data, frozenset({"unlisted"}))
    yield item("null.png", _link_to("/dev/null"), "unreadable", "empty")
    yield item("endless.png", _link_to("/dev/zero"), "unreadable")
    reasons = ("unreadable",) if os.geteuid() else ("ok",)  # a superuser may read anything
    yield item("forbidden.png", _forbidden, *reasons)


def _link_to(target: str) -> Callable[[bytes], None]:
    return lambda path: os.symlink(os.fsencode(target), path)  # noqa: PTH211 - bytes


def _socket(path: bytes) -> None:
    # By a name relative to its folder: the names of sockets are short.
    before = os.getcwd()  # noqa: PTH109 - to go back to
    os.chdir(os.path.dirname(path))  # noqa: PTH120 - bytes
    try:
        with socket.socket(socket.AF_UNIX) as opened:
            opened.bind(os.path.basename(path))  # noqa: PTH119 - bytes
    finally:
        os.chdir(before)


def _forbidden(path: bytes) -> None:
    with open(path, "wb") as opened:  # noqa: PTH123 - bytes
        opened.write(encode(PICTURE, "PNG"))
    os.chmod(path, 0)  # noqa: PTH101 - bytes
