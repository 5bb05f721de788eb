"""A path, a PIL image and an array of one photograph are the same pixels."""

from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from sa_engine.dataset.images.given import rgb_of
from sa_engine.errors import ImageError, UsageError

RGB = np.random.default_rng(0).integers(0, 256, (5, 8, 3), dtype=np.uint8)


def test_a_path_a_picture_and_an_array_are_the_same(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    path = tmp_path / "lying.png"
    Image.fromarray(RGB).save(path, exif=exif)
    upright = np.rot90(RGB, -1)
    for image in (path, str(path), Image.open(path)):
        np.testing.assert_array_equal(rgb_of(image), upright)
    assert rgb_of(RGB) is RGB


def test_other_modes_become_rgb() -> None:
    grey = Image.fromarray(RGB[..., 0])
    assert rgb_of(grey).shape == (5, 8, 3)


def test_what_is_no_image_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot read the image .*none\.jpg: No such file"):
        rgb_of(tmp_path / "none.jpg")
    (tmp_path / "text.jpg").write_text("no image")
    with pytest.raises(ImageError, match="begins like no image"):
        rgb_of(tmp_path / "text.jpg")
    with pytest.raises(ValueError, match=r"\(5, 8\) uint8: convert it"):
        rgb_of(RGB[..., 0])
