"""Pictures are written for what went through, whether or not the dataset holds its images."""

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from sa_engine.dataset.folder.base import LocalFolder
from sa_engine.dataset.reader import Dataset
from sa_engine.pipelines.pictures import write_pictures
from sa_engine.pipelines.run.start import run_here
from sa_engine.pipelines.run.worker import Reading
from tests.support.annotators import Bright

Begin = Callable[[str], LocalFolder]


@pytest.mark.parametrize("keep_images", [True, False])
def test_a_picture_for_each_image_and_a_page(
    begin: Begin, photographs: Path, tmp_path: Path, keep_images: bool
) -> None:
    (photographs / "photo 03.png").write_bytes(b"not an image")
    folder = begin("data")
    run_here(folder, Bright(), reading=Reading(keep_images=keep_images))
    summary = write_pictures(Dataset(folder.path), tmp_path / "pictures")
    assert (summary.images, summary.masks, summary.without_photograph) == (11, 11, 0)
    pictures = sorted(path.name for path in (tmp_path / "pictures").glob("*.jpg"))
    assert pictures == sorted(f"overlay_{i}.jpg" for i in range(1, 13) if i != 4)
    with Image.open(tmp_path / "pictures" / "overlay_1.jpg") as picture:
        assert picture.size == (20, 16)
    assert summary.page.read_text().count("\nadd({") == 11


def test_images_that_are_gone_leave_a_grey_page(
    begin: Begin, photographs: Path, tmp_path: Path
) -> None:
    folder = begin("data")
    run_here(folder, Bright(), reading=Reading(keep_images=False))
    (photographs / "photo 00.png").unlink()
    summary = write_pictures(Dataset(folder.path), tmp_path / "pictures", limit=2)
    assert (summary.images, summary.without_photograph) == (2, 1)
    assert not (tmp_path / "pictures" / "overlay_1.jpg").exists()
