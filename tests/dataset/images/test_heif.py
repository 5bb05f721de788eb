"""HEIC photographs: read with pillow-heif, kept as JPEG; without it told what to install."""

import io
import sys

import numpy as np
import pillow_heif
import pytest
from numpy.typing import NDArray
from PIL import Image

from sa_engine.dataset.images import decoding
from sa_engine.dataset.images.decoding import check_beginning
from sa_engine.dataset.images.reading import read_image, read_orientation, read_rgb, read_size_hw
from sa_engine.errors import ImageError

# 4x8 blocks of 16x16 pixels, one colour each: (64, 128, 3).
COLOURS = np.random.default_rng(5).integers(0, 256, (4, 8, 3), dtype=np.uint8)
PIXELS = np.kron(COLOURS, np.ones((16, 16, 1), dtype=np.uint8))


def heic(pixels: NDArray[np.uint8], orientation: int = 1) -> bytes:
    """A file whose container says, as a telephone's does, how its pixels are to be turned."""
    tags = Image.Exif()
    tags[0x112] = orientation
    pillow_heif.register_heif_opener()
    picture = Image.fromarray(pixels)
    picture.info["exif"] = tags.tobytes()
    buffer = io.BytesIO()
    picture.save(buffer, "HEIF", quality=98)
    return buffer.getvalue()


def middles(pixels: NDArray[np.uint8]) -> NDArray[np.int64]:
    return pixels[8::16, 8::16].astype(int)


def test_a_heic_photograph_is_kept_as_the_jpeg_that_is_read() -> None:
    data = heic(PIXELS)
    assert data[4:12] == b"ftypheic"
    check_beginning(data[:16])
    stored = read_image(data)
    assert stored.extension == "jpg" and stored.data.startswith(b"\xff\xd8")
    assert stored.size_hw == read_size_hw(data) == (64, 128) and stored.orientation == 1
    np.testing.assert_array_equal(read_rgb(stored.data), stored.rgb_HW3)
    assert np.abs(middles(stored.rgb_HW3) - COLOURS).max() <= 12
    assert read_image(data).data == stored.data


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_a_turned_photograph_comes_upright(orientation: int) -> None:
    data = heic(PIXELS, orientation)
    upright = np.rot90(COLOURS, {3: 2, 6: -1, 8: 1}[orientation])
    stored = read_image(data)
    assert (
        stored.size_hw
        == read_orientation(data)[1]
        == (upright.shape[0] * 16, upright.shape[1] * 16)
    )
    assert np.abs(middles(stored.rgb_HW3) - upright).max() <= 12


def test_a_cut_or_too_large_file_is_refused() -> None:
    data = heic(PIXELS)
    for length in range(12, len(data) - 1, max(1, len(data) // 25)):
        with pytest.raises(ImageError) as caught:
            read_image(data[:length])
        assert caught.value.reason in ("truncated", "unreadable", "damaged")
    with pytest.raises(ImageError, match="over the limit of 100"):
        read_image(data, max_pixels=100)


def test_without_the_package_the_reason_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = heic(PIXELS)
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    monkeypatch.delitem(Image.OPEN, "HEIF")
    decoding._with_heif.cache_clear()
    try:
        with pytest.raises(ImageError, match=r"sa-engine\[heic\]") as caught:
            read_image(data)
        assert caught.value.reason == "unsupported"
    finally:
        decoding._with_heif.cache_clear()
