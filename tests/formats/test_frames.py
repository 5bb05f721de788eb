"""EXIF orientation: which frame annotations are in, and turning them upright."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from sa_engine.dataset.images.reading import read_image
from sa_engine.formats.frames import (
    Frame,
    Orientation,
    frame_of,
    turn_box,
    turn_mask,
)
from sa_engine.masks.rle import bbox_xywh, decode, encode

L_SHAPE = np.array(
    [
        [0, 0, 0, 0, 0],
        [0, 1, 0, 0, 0],
        [0, 1, 1, 0, 0],
    ],
    dtype=bool,
)


@pytest.mark.parametrize("exif", range(1, 9))
def test_masks_turn_as_the_picture_does(tmp_path: Path, exif: int) -> None:
    path = tmp_path / "a.png"
    tags = Image.Exif()
    tags[0x0112] = exif
    Image.fromarray(L_SHAPE.astype(np.uint8) * 255).save(path, exif=tags)
    with Image.open(path) as stored:
        upright = np.asarray(ImageOps.exif_transpose(stored)) > 0

    turned = turn_mask(encode(L_SHAPE), exif)
    assert np.array_equal(decode(turned), upright)
    assert turn_box(bbox_xywh(encode(L_SHAPE)), exif, (3, 5)) == bbox_xywh(turned)
    assert read_image(path.read_bytes()).orientation == exif


def test_an_empty_mask_turns_into_an_empty_one() -> None:
    turned = turn_mask(encode(np.zeros((3, 5), dtype=bool)), 6)

    assert turned.size_hw == (5, 3)
    assert not decode(turned).any()


@pytest.mark.parametrize(
    ("declared_hw", "exif", "upright_hw", "frame"),
    [
        (None, 6, (8, 6), Frame.UPRIGHT),
        ((8, 6), 6, (8, 6), Frame.UPRIGHT),
        ((6, 8), 6, (8, 6), Frame.STORED),
        ((6, 8), 1, (8, 6), Frame.SWAPPED),
        ((6, 8), 3, (8, 6), Frame.SWAPPED),
        ((6, 6), 6, (6, 6), Frame.UPRIGHT),
        ((12, 16), 1, (8, 6), Frame.OTHER),
    ],
)
def test_the_frame_that_a_size_tells(
    declared_hw: tuple[int, int] | None, exif: int, upright_hw: tuple[int, int], frame: Frame
) -> None:
    assert frame_of(declared_hw, Orientation(exif, upright_hw)) is frame
