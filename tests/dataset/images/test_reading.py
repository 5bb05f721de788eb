"""Odd and rotten image files: each gives the right pixels or one ImageError with its reason."""

import io
import struct
import subprocess
import sys
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from sa_engine.dataset.images.reading import read_image, read_rgb, read_size_hw
from sa_engine.errors import ImageError

# 8x4 blocks of 8x8 pixels, so that lossy formats keep colours apart: (32, 64, 3).
COLOURS = np.random.default_rng(3).integers(0, 256, (4, 8, 3), dtype=np.uint8)
PIXELS = np.kron(COLOURS, np.ones((8, 8, 1), dtype=np.uint8))
GREY = PIXELS[:, :, 0]
PICTURE = Image.fromarray(PIXELS)

LOSSLESS = ["PNG", "TIFF", "BMP", "PPM", "QOI", "SGI", "PCX", "JPEG2000"]
LOSSY = ["JPEG", "WEBP", "AVIF"]
EXTENSIONS = {
    "PNG": "png", "TIFF": "tif", "BMP": "bmp", "PPM": "ppm", "QOI": "qoi", "SGI": "sgi",
    "PCX": "pcx", "JPEG2000": "jp2", "JPEG": "jpg", "WEBP": "webp", "AVIF": "avif",
}  # fmt: skip


def encode(picture: Image.Image, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, form, **options)
    return buffer.getvalue()


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x112] = orientation
    return tags


def reason(data: bytes, **options: Any) -> str:
    with pytest.raises(ImageError) as caught:
        read_image(data, **options)
    assert str(caught.value)
    return caught.value.reason


@pytest.mark.parametrize("form", LOSSLESS + LOSSY)
def test_upright_files_are_kept_as_they_came(form: str) -> None:
    data = encode(PICTURE, form)
    stored = read_image(data)
    assert stored.data == data
    assert stored.extension == EXTENSIONS[form]
    assert stored.size_hw == read_size_hw(data) == (32, 64)
    assert stored.rgb_HW3.dtype == np.uint8 and stored.rgb_HW3.flags.c_contiguous
    if form in LOSSLESS:
        np.testing.assert_array_equal(stored.rgb_HW3, PIXELS)
    else:
        assert np.abs(stored.rgb_HW3.astype(int) - PIXELS).mean() < 12
    np.testing.assert_array_equal(read_rgb(data), stored.rgb_HW3)


# Where the top left pixel of the stored picture ends up in the upright one, and whether sides swap.
TURNED = {
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.transpose(1, 0, 2),
    6: lambda p: np.rot90(p, -1),
    7: lambda p: np.rot90(p, 2).transpose(1, 0, 2),
    8: lambda p: np.rot90(p, 1),
}


@pytest.mark.parametrize("orientation", TURNED)
@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_pictures_on_their_side_are_stored_upright(form: str, orientation: int) -> None:
    data = encode(PICTURE, form, exif=exif(orientation))
    stored = read_image(data)
    np.testing.assert_array_equal(stored.rgb_HW3, TURNED[orientation](PIXELS))
    assert stored.data != data
    # The stored file needs no turning: a reader that ignores EXIF sees the same.
    with Image.open(io.BytesIO(stored.data)) as again:
        assert again.getexif().get(0x112, 1) == 1
        np.testing.assert_array_equal(np.array(again.convert("RGB")), stored.rgb_HW3)
    assert read_size_hw(data) == stored.size_hw == read_size_hw(stored.data)
    np.testing.assert_array_equal(read_rgb(data), stored.rgb_HW3)


@pytest.mark.parametrize("form", LOSSY)
def test_masks_are_made_on_what_a_reader_of_the_stored_file_sees(form: str) -> None:
    data = encode(PICTURE, form, exif=exif(6).tobytes())
    stored = read_image(data)
    assert stored.extension == EXTENSIONS[form] and stored.size_hw == (64, 32)
    np.testing.assert_array_equal(read_rgb(stored.data), stored.rgb_HW3)
    again = read_image(stored.data)
    assert again.data == stored.data
    assert read_image(data).data == stored.data


@pytest.mark.parametrize("orientation", [0, 1, 9, 77])
def test_nonsense_orientations_are_upright(orientation: int) -> None:
    data = encode(PICTURE, "PNG", exif=exif(orientation))
    assert read_image(data).data == data


def test_damaged_exif_does_not_hide_the_pixels() -> None:
    data = encode(PICTURE, "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\x7f" + bytes(20))
    assert read_image(data).size_hw == (32, 64)


def test_grayscale_palette_and_one_bit() -> None:
    grey = np.repeat(GREY[:, :, None], 3, axis=2)
    for form in ("PNG", "TIFF"):
        np.testing.assert_array_equal(read_rgb(encode(Image.fromarray(GREY), form)), grey)
    bits = Image.fromarray(GREY > 127)
    np.testing.assert_array_equal(read_rgb(encode(bits, "PNG"))[:, :, 1], (GREY > 127) * 255)
    palette = PICTURE.quantize(64)
    expected = np.array(palette.convert("RGB"))
    np.testing.assert_array_equal(read_rgb(encode(palette, "PNG")), expected)
    see_through = encode(palette, "PNG", transparency=0)
    np.testing.assert_array_equal(read_rgb(see_through), expected)


def test_transparency_is_dropped_and_colours_are_as_stored() -> None:
    alpha = np.full((32, 64, 1), 40, dtype=np.uint8)
    alpha[:, :20] = 0
    rgba = Image.fromarray(np.concatenate((PIXELS, alpha), axis=2))
    for form, options in (("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True, "exact": True})):
        np.testing.assert_array_equal(read_rgb(encode(rgba, form, **options)), PIXELS)
    grey = encode(
        Image.merge("LA", (Image.fromarray(GREY), Image.fromarray(alpha[:, :, 0]))), "PNG"
    )
    np.testing.assert_array_equal(read_rgb(grey)[:, :, 2], GREY)


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_16_bit_is_divided_by_257(form: str) -> None:
    values = np.array([[0, 1, 128, 129, 257, 385, 386, 65407, 65535]], dtype=np.uint16)
    expected = [0, 0, 0, 1, 1, 1, 2, 255, 255]
    assert read_rgb(encode(Image.fromarray(values), form))[0, :, 0].tolist() == expected


def test_big_endian_16_bit_and_32_bit_integers() -> None:
    big = Image.frombytes("I;16B", (3, 1), struct.pack(">3H", 0, 257, 65535))
    assert read_rgb(encode(big, "TIFF"))[0, :, 1].tolist() == [0, 1, 255]
    wide = Image.fromarray(np.array([[0, 257, 65535]], dtype=np.int32))
    assert read_rgb(encode(wide, "TIFF"))[0, :, 1].tolist() == [0, 1, 255]
    wider = Image.fromarray(np.array([[-1000, 0, 1000]], dtype=np.int32))
    assert read_rgb(encode(wider, "TIFF"))[0, :, 1].tolist() == [0, 128, 255]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 0.5, 1.0, np.nan], [0, 128, 255, 0]),
        ([0.0, 100.4, 255.0, np.inf], [0, 100, 255, 0]),
        ([-5.0, 0.0, 5.0, -np.inf], [0, 128, 255, 0]),
        ([1e38, -1e38, 0.0, np.nan], [255, 0, 128, 0]),
        ([np.nan, np.nan, np.nan, np.nan], [0, 0, 0, 0]),
    ],
)
def test_floating_point_pictures(values: list[float], expected: list[int]) -> None:
    data = encode(Image.fromarray(np.array([values], dtype=np.float32)), "TIFF")
    assert read_rgb(data)[0, :, 0].tolist() == expected


@pytest.mark.parametrize("form", ["JPEG", "TIFF"])
def test_cmyk(form: str) -> None:
    found = read_rgb(encode(PICTURE.convert("CMYK"), form))
    assert np.abs(found.astype(int) - PIXELS).mean() < 12


def test_lab() -> None:
    to_lab = ImageCms.buildTransform(
        ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB"
    )
    lab = ImageCms.applyTransform(PICTURE, to_lab)
    assert lab is not None
    assert np.abs(read_rgb(encode(lab, "TIFF")).astype(int) - PIXELS).mean() < 6


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_several_frames_the_first_counts(form: str) -> None:
    frames = [Image.new("RGB", (9, 7), colour) for colour in ("red", "lime", "blue")]
    options = {"lossless": True} if form == "WEBP" else {}
    data = encode(frames[0], form, save_all=True, append_images=frames[1:], **options)
    stored = read_image(data)
    assert stored.data == data and stored.size_hw == (7, 9)
    assert (stored.rgb_HW3 == (255, 0, 0)).all()


def test_progressive_and_interlaced() -> None:
    plain = read_rgb(encode(PICTURE, "JPEG"))
    np.testing.assert_array_equal(read_rgb(encode(PICTURE, "JPEG", progressive=True)), plain)


def test_resized_to_the_shortest_side() -> None:
    data = encode(PICTURE, "JPEG")
    stored = read_image(data, shortest_side=12)
    assert stored.size_hw == (12, 24) and stored.extension == "jpg"
    np.testing.assert_array_equal(read_rgb(stored.data), stored.rgb_HW3)
    assert read_image(data, shortest_side=32).data == data
    assert read_image(encode(PICTURE, "PNG", exif=exif(6)), shortest_side=10).size_hw == (20, 10)
    # 1501 x 1000 at 500 is 750.5 long: halves go up.
    assert read_image(encode(Image.new("L", (1501, 1000)), "PNG"), shortest_side=500).size_hw == (
        500,
        751,
    )
    with pytest.raises(ValueError, match="shortest side"):
        read_image(data, shortest_side=0)


@pytest.mark.parametrize("form", ["GIF", "QOI", "SGI", "PCX"])
def test_formats_that_lose_colours_when_written_become_png(form: str) -> None:
    stored = read_image(encode(PICTURE, form), shortest_side=16)
    assert stored.extension == "png" and stored.data.startswith(b"\x89PNG")


def test_grayscale_stays_grayscale_when_it_is_written_anew() -> None:
    for form in ("JPEG", "PNG", "TIFF"):
        stored = read_image(encode(Image.fromarray(GREY), form), shortest_side=16)
        with Image.open(io.BytesIO(stored.data)) as again:
            assert again.mode == "L"
    deep = encode(Image.fromarray(GREY.astype(np.uint16) * 257), "PNG")
    stored = read_image(deep, shortest_side=16)
    np.testing.assert_array_equal(read_rgb(stored.data), stored.rgb_HW3)


def test_extreme_shapes() -> None:
    assert read_image(encode(Image.new("RGB", (1, 1)), "PNG")).size_hw == (1, 1)
    for size in ((1, 20000), (20000, 1)):
        data = encode(Image.new("RGB", size, "red"), "JPEG")
        assert read_image(data, shortest_side=1500).data == data
    thin = read_image(encode(Image.new("RGB", (2, 3000)), "PNG"), shortest_side=1)
    assert thin.size_hw == (1500, 1)


def test_the_pixel_limit_is_the_users() -> None:
    data = encode(Image.new("1", (3000, 2000)), "PNG")
    assert reason(data, max_pixels=5_999_999) == "too-large"
    assert read_image(data, max_pixels=6_000_000).size_hw == (2000, 3000)
    # A file of a few bytes that claims 30,000 x 30,000.
    header = b"IHDR" + struct.pack(">2I5B", 30_000, 30_000, 8, 2, 0, 0, 0)
    small = encode(PICTURE, "PNG")
    bomb = small[:12] + header + struct.pack(">I", zlib.crc32(header)) + small[33:]
    assert reason(bomb) == "too-large"
    assert reason(small[:12] + header + small[29:]) == "truncated"


def test_a_large_picture_is_read_without_a_warning() -> None:
    # Over the limit at which Pillow warns for itself.
    data = encode(Image.new("1", (10_000, 9_000)), "TIFF", compression="group4")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_size_hw(data) == (9_000, 10_000)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "empty"),
        (b"hello, world", "not-an-image"),
        (bytes(5000), "not-an-image"),
        (b"%PDF-1.7\n1 0 obj", "not-an-image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not-an-image"),
        (b"PK\x03\x04" + bytes(40), "not-an-image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not-an-image"),
        (b"<!DOCTYPE html><html>", "not-an-image"),
        (b"\x00\x00\x00\x18ftypheic" + bytes(60), "truncated"),
        (b"\xff\xd8\xff", "truncated"),
        (b"\x89PNG\r\n\x1a\n", "truncated"),
        (b"GIF89a", "truncated"),
    ],
)
def test_reasons(data: bytes, expected: str) -> None:
    assert reason(data) == expected


@pytest.mark.parametrize("form", LOSSLESS + LOSSY + ["GIF"])
def test_cut_files_never_give_a_partly_grey_picture(form: str) -> None:
    data = encode(PICTURE, form)
    whole = read_rgb(data)
    for length in [*range(1, 40, 3), *range(40, len(data), max(1, len(data) // 40)), len(data) - 1]:
        try:
            found = read_rgb(data[:length])
        except ImageError as error:
            assert error.reason in ("truncated", "not-an-image", "unreadable")
        else:
            # Only end marks and checksums were cut: every pixel is there.
            np.testing.assert_array_equal(found, whole)
            assert length > len(data) - 64


def test_a_jpeg_that_was_padded_after_the_cut_is_truncated() -> None:
    data = encode(PICTURE, "JPEG", quality=95)
    half = len(data) // 2
    assert reason(data[:half] + bytes(200_000)) == "truncated"
    # Bytes after the end mark, as some cameras write, are no damage.
    assert read_image(data + b"\xff\xda trailer").size_hw == (32, 64)


def test_a_jpeg_whose_thumbnail_is_whole_is_still_truncated() -> None:
    thumbnail = encode(PICTURE.resize((16, 8)), "JPEG")
    data = encode(PICTURE, "JPEG", exif=b"Exif\0\0" + thumbnail, quality=95)
    assert read_image(data).size_hw == (32, 64)
    assert reason(data[: len(data) // 2 + 600] + bytes(200_000)) == "truncated"


def test_damaged_bytes_never_crash() -> None:
    draw = np.random.default_rng(11)
    for form in LOSSLESS + LOSSY + ["GIF"]:
        data = encode(PICTURE, form)
        for _ in range(25):
            damaged = bytearray(data)
            for place in draw.integers(0, len(data), 6):
                damaged[place] = int(draw.integers(0, 256))
            try:
                stored = read_image(bytes(damaged), max_pixels=1_000_000)
            except ImageError as error:
                assert error.reason
            else:
                assert stored.rgb_HW3.shape[2] == 3


def test_tiff_with_a_hostile_directory() -> None:
    directory = ImageFileDirectory_v2()
    directory[256], directory[257] = 2**31 - 1, 2**31 - 1
    data = b"II*\0\x08\0\0\0" + directory.tobytes(8)
    assert reason(data) in ("too-large", "unreadable", "truncated", "not-an-image")


MEASURE = """
import resource, sys
from sa_engine.dataset.images.reading import read_image

read_image(open(sys.argv[1], "rb").read())
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
read_image(open(sys.argv[2], "rb").read())
print(1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before))
"""


@pytest.mark.parametrize(("kind", "bytes_a_pixel"), [("turned", 12), ("float", 18)])
def test_memory_is_bounded_by_the_pixels(tmp_path: Path, kind: str, bytes_a_pixel: int) -> None:
    paths = [tmp_path / "small", tmp_path / "large"]
    for path, side in zip(paths, (50, 4000), strict=True):
        if kind == "turned":
            picture = Image.new("RGB", (side, side), "red")
            path.write_bytes(encode(picture, "JPEG", exif=exif(6).tobytes()))
        else:
            path.write_bytes(encode(Image.new("F", (side, side), 0.5), "TIFF"))
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *paths], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) <= bytes_a_pixel * 4000 * 4000
