"""TIFF layouts as another library writes them: read as it reads them, or refused by name."""

import io
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from sa_engine.dataset.images.reading import read_image, read_rgb, read_size_hw
from sa_engine.errors import ImageError

Y, X = np.mgrid[:24, :40]
EIGHT = np.stack((X * 6, Y * 9 + 20, (X + Y) * 4), axis=-1).astype(np.uint8)
"""(24, 40, 3): rows, columns and channels can be told apart."""


def tiff(values: NDArray[Any], **options: Any) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, values, metadata=None, **options)
    return buffer.getvalue()


def planes(values: NDArray[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(np.moveaxis(values, -1, 0))


@pytest.mark.parametrize("compression", [None, "deflate", "lzw"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("tile", [None, (16, 16)])
def test_16_bit_colours_in_planes_are_the_picture(
    compression: str | None, order: str, tile: tuple[int, int] | None
) -> None:
    deep = EIGHT.astype(np.uint16) * 257
    options: dict[str, Any] = {"compression": compression, "byteorder": order, "tile": tile}
    data = tiff(planes(deep), photometric="rgb", planarconfig="separate", **options)
    stored = read_image(data)
    np.testing.assert_array_equal(stored.rgb_HW3, EIGHT)
    assert stored.data == data and stored.notes == {}
    data = tiff(deep, photometric="rgb", planarconfig="contig", **options)
    np.testing.assert_array_equal(read_rgb(data), EIGHT)


@pytest.mark.parametrize("exif", range(1, 9))
@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_deep_colours_are_turned_upright(exif: int, planar: str) -> None:
    deep = EIGHT.astype(np.uint16) * 257
    tag = [(274, 3, 1, exif, True)]
    data = tiff(
        deep if planar == "contig" else planes(deep),
        photometric="rgb", planarconfig=planar, extratags=tag,
    )  # fmt: skip
    expected = read_rgb(tiff(EIGHT, photometric="rgb", extratags=tag))
    stored = read_image(data)
    np.testing.assert_array_equal(stored.rgb_HW3, expected)
    assert stored.orientation == exif and read_size_hw(data) == expected.shape[:2]


def test_12_bits_in_16_are_as_bright_as_the_picture_and_noted() -> None:
    for values in (EIGHT.astype(np.uint16) * 16, EIGHT[:, :, 0].astype(np.uint16) * 16):
        stored = read_image(tiff(values, photometric="rgb" if values.ndim == 3 else "minisblack"))
        expected = EIGHT if values.ndim == 3 else np.repeat(EIGHT[:, :, :1], 3, axis=2)
        assert np.abs(stored.rgb_HW3.astype(int) - expected).max() <= 1
        assert stored.notes == {"depth": 12}


def test_white_can_be_zero() -> None:
    for kind, most in ((np.uint8, 255), (np.uint16, 65535)):
        grey = (EIGHT[:, :, 0].astype(np.uint32) * most // 255).astype(kind)
        found = read_rgb(tiff(most - grey, photometric="miniswhite"))
        assert np.abs(found[:, :, 0].astype(int) - EIGHT[:, :, 0]).max() <= 1


@pytest.mark.parametrize("kind", ["float32", "int16", "int32"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_compressed_wide_grey_of_either_byte_order(kind: str, order: str) -> None:
    grey = (EIGHT[:, :, 0] / 255).astype(kind) if kind == "float32" else EIGHT[:, :, 0].astype(kind)
    data = tiff(grey, photometric="minisblack", compression="deflate", byteorder=order)
    np.testing.assert_array_equal(read_rgb(data)[:, :, 0], EIGHT[:, :, 0])


@pytest.mark.parametrize(
    ("kind", "channels", "named"),
    [
        ("float32", 3, "3 samples a pixel, floats of 32 bits"),
        ("float64", 1, "1 sample a pixel, floats of 64 bits"),
        ("uint16", 5, "5 samples a pixel, unsigned integers of 16 bits"),
        ("int8", 1, "1 sample a pixel, signed integers of 8 bits"),
    ],
)
def test_other_layouts_are_named(kind: str, channels: int, named: str) -> None:
    values = np.repeat(EIGHT[:, :, :1], channels, axis=2).astype(kind)
    values = values[:, :, 0] if channels == 1 else values
    with pytest.raises(ImageError) as error:
        read_rgb(tiff(values, photometric="rgb" if channels > 2 else "minisblack"))
    assert error.value.reason == "unsupported"
    assert named in str(error.value)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_damaged_pieces_are_found_by_their_checksums(kind: type, planar: str) -> None:
    values: NDArray[Any] = EIGHT.astype(kind)
    data = tiff(
        values if planar == "contig" else planes(values),
        photometric="rgb", planarconfig=planar, compression="deflate", rowsperstrip=8,
    )  # fmt: skip
    np.testing.assert_array_equal(read_rgb(data), EIGHT)
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page = file.pages[0]
        spans = list(zip(page.dataoffsets, page.databytecounts, strict=True))
    for offset, size in spans:
        damaged = bytearray(data)
        damaged[offset + size // 2] ^= 4
        with pytest.raises(ImageError) as error:
            read_rgb(bytes(damaged))
        assert error.value.reason in ("damaged", "truncated")
