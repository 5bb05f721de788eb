"""An image with its masks, as a notebook shows it."""

from pathlib import Path

import numpy as np
from PIL import Image

from sa_engine.report.plot import plot
from tests.support.drawing import grid
from tests.support.written import mask_record


def test_masks_are_coloured_on_the_reduced_image(tmp_path: Path) -> None:
    path = tmp_path / "grey.png"
    Image.fromarray(np.full((40, 80, 3), 128, np.uint8)).save(path)
    mask = np.zeros((40, 80), dtype=bool)
    mask[:, 40:] = True
    picture = plot(path, [mask], max_side=20)
    assert picture.size == (20, 10)
    pixels = np.asarray(picture)
    assert (pixels[:, :8] == 128).all()
    assert (pixels[:, 12:] != 128).any(axis=2).all()


def test_records_and_arrays_look_alike() -> None:
    rgb = np.full((3, 4, 3), 128, np.uint8)
    mask = grid("....", ".##.", "....")
    one, other = plot(rgb, [mask]), plot(Image.fromarray(rgb), [mask_record(mask)])
    np.testing.assert_array_equal(np.asarray(one), np.asarray(other))
