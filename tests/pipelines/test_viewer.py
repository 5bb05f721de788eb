"""The viewer's folder, and the page in a real browser."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sa_engine.dataset.records import Stage
from sa_engine.errors import UsageError
from sa_engine.pipelines.viewer import ViewerRun, write_viewer
from tests.support.pages import open_page
from tests.support.written import Written, mask_record, write_dataset

HEIGHT, WIDTH = 60, 80


def box(left: int, top: int, right: int, bottom: int) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), dtype=bool)
    mask[top:bottom, left:right] = True
    return mask


WHOLE = mask_record(box(10, 10, 70, 50), predicted_iou=0.9, stability_score=0.95)
PART = mask_record(box(20, 20, 30, 40), stage=Stage.MANUAL, category="wheel")
CORNER = mask_record(box(70, 50, 80, 60), predicted_iou=0.4, stability_score=0.7)


def grey(value: int, size_hw: tuple[int, int] = (HEIGHT, WIDTH)) -> np.ndarray:
    return np.full((*size_hw, 3), value, dtype=np.uint8)


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return write_dataset(
        tmp_path / "data",
        [
            Written(grey(10), [WHOLE, PART], "street.png"),
            Written(grey(20), [CORNER], "<b>&.png"),
            Written(None, (), "broken.png"),
            Written(grey(40), []),
        ],
        images_per_shard=3,
    )


def test_files_of_the_folder(dataset: Path, tmp_path: Path) -> None:
    done: list[str] = []
    run = ViewerRun(datasets=(dataset,), out=tmp_path / "out", overlays=True)
    summary = write_viewer(run, progress=lambda image: done.append(image.key))
    assert (summary.images, summary.failed, summary.masks) == (3, 1, 3)
    assert (summary.without_photograph, summary.is_complete) == (0, True)
    assert done == ["1", "2", "3", "4"]
    names = sorted(str(p.relative_to(run.out)) for p in run.out.rglob("*") if p.is_file())
    files = [f"images/0/{i}{end}" for i in (1, 2, 4) for end in (".js", ".png", ".thumb.jpg")]
    overlays = [f"overlays/{i}.jpg" for i in (1, 2, 4)]
    assert names == sorted(["data.js", "index.html", *files, *overlays])
    with Image.open(run.out / "overlays" / "1.jpg") as picture:
        assert picture.size == (WIDTH, HEIGHT)
        # Inside the mask it is coloured, outside it is the photograph.
        inside, outside = picture.getpixel((60, 30)), picture.getpixel((2, 2))
        assert isinstance(inside, tuple) and isinstance(outside, tuple)
        assert len(set(inside)) > 1
        assert max(abs(v - 10) for v in outside) < 6


def test_large_photographs_are_reduced_and_masks_are_not(tmp_path: Path) -> None:
    path = write_dataset(tmp_path / "data", [Written(grey(10), [WHOLE])])
    write_viewer(ViewerRun(datasets=(path,), out=tmp_path / "out", max_side=64))
    with Image.open(tmp_path / "out" / "images" / "0" / "1.jpg") as picture:
        assert picture.size == (64, 48)
    masks = (tmp_path / "out" / "images" / "0" / "1.js").read_text()
    assert f'"counts":"{WHOLE.segmentation.counts}"' in masks.replace("\\\\", "\\")


def test_what_is_still_being_made_and_what_has_only_failures(tmp_path: Path) -> None:
    begun = write_dataset(tmp_path / "begun", [Written(grey(1))] * 4, images_per_shard=2, shards=1)
    summary = write_viewer(ViewerRun(datasets=(begun,), out=tmp_path / "one"))
    assert (summary.images, summary.is_complete) == (2, False)
    assert "2 of 4 images are shown" in (tmp_path / "one" / "data.js").read_text()
    failed = write_dataset(tmp_path / "failed", [Written(None)] * 2)
    write_viewer(ViewerRun(datasets=(failed,), out=tmp_path / "two"))
    assert "No image went through: 2 failed" in (tmp_path / "two" / "data.js").read_text()
    empty = write_dataset(tmp_path / "empty", [])
    write_viewer(ViewerRun(datasets=(empty,), out=tmp_path / "three"))
    assert '"note":"No image."' in (tmp_path / "three" / "data.js").read_text()


def test_a_limit_says_what_it_left_out(dataset: Path, tmp_path: Path) -> None:
    summary = write_viewer(ViewerRun(datasets=(dataset,), out=tmp_path / "out", limit=1))
    assert (summary.images, summary.left_out) == (1, 3)


def test_three_datasets_are_too_many(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="3 datasets"):
        write_viewer(ViewerRun(datasets=(dataset,) * 3, out=tmp_path / "out"))


def pixel(page: Any, x: float, y: float, pane: int = 0) -> list[int]:
    """What is painted over the image's point (x, y) of a pane: red, green, blue, opacity."""
    found: list[int] = page.evaluate(
        """([x, y, pane]) => { const { view } = viewer, canvas = viewer.panes[pane].maskCanvas;
        return [...canvas.getContext("2d").getImageData(
          Math.floor((x - view.x) * view.scale), Math.floor((y - view.y) * view.scale),
          1, 1).data]; }""",
        [x, y, pane],
    )
    return found


def alike(first: list[int], second: list[int]) -> bool:
    """Whether two colours are the same, whatever their opacity; browsers round."""
    return all(abs(a - b) < 8 for a, b in zip(first[:3], second[:3], strict=True))


def test_the_page_in_a_browser(dataset: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_viewer(ViewerRun(datasets=(dataset,), out=out))
    with open_page((out / "index.html").as_uri()) as page:
        assert page.inner_text("#total") == "4 of 4 images, 3 masks"
        assert page.locator(".cell").count() == 4
        assert "truncated: it ends" in page.inner_text(".failed")
        # From image to image; the one that failed is passed over.
        shown = []
        for _ in range(3):
            page.keyboard.press("ArrowRight")
            page.wait_for_timeout(150)
            shown.append(page.evaluate("document.body.dataset.shown"))
        assert shown == ["1", "2", "4"]
        page.keyboard.press("Home")
        page.wait_for_function("document.body.dataset.shown === '1'")
        whole, part = pixel(page, 60, 30), pixel(page, 25, 30)
        assert whole[3] > 0 and part[3] > 0 and whole[:3] != part[:3]
        assert pixel(page, 5, 5)[3] == 0
        # One mask alone: the part, which is the second of the list.
        page.keyboard.press("ArrowDown")
        page.keyboard.press("ArrowDown")
        page.keyboard.press("o")
        assert (pixel(page, 60, 30)[3], pixel(page, 25, 30)[3] > 0) == (0, True)
        assert "wheel" in page.inner_text("#facts")
        page.keyboard.press("o")
        page.keyboard.press("m")
        assert pixel(page, 25, 30)[3] == 0
        page.keyboard.press("m")
        # Down to the pixel: the mask's corner is where it should be.
        page.keyboard.press("z")
        for _ in range(6):
            page.keyboard.press("+")
        page.evaluate(
            "viewer.move(-1e6, -1e6); viewer.view.x = 19.5; viewer.view.y = 19.5; viewer.draw()"
        )
        assert page.evaluate("viewer.view.scale") >= 32
        assert alike(pixel(page, 20.05, 20.05), part)
        assert alike(pixel(page, 19.95, 19.95), whole)
        page.keyboard.press("Escape")
        # Filters and the order.
        page.select_option("#stage", label="manual")
        assert page.inner_text("#total") == "1 of 4 images, 1 masks"
        page.click("#clear")
        page.fill("#iou", "0.3-0.5")
        assert page.inner_text("#total") == "1 of 4 images, 1 masks"
        page.fill("#iou", "what")
        assert page.locator("#iou.wrong").count() == 1
        page.click("#clear")
        page.select_option("#status", label="failed: truncated (1)")
        assert page.inner_text("#total") == "1 of 4 images, 0 masks"
        page.click("#clear")
        page.select_option("#sort", "most")
        assert page.evaluate("viewer.order.map(i => viewer.columns.keys[i])") == [
            "1",
            "2",
            "3",
            "4",
        ]
        page.select_option("#sort", "fewest")
        assert page.evaluate("viewer.order.map(i => viewer.columns.keys[i])") == [
            "3",
            "4",
            "2",
            "1",
        ]
        page.fill("#search", "<B>")
        assert page.inner_text("#total") == "1 of 4 images, 1 masks"
        # An address leads to an image and a mask of it.
        page.goto((out / "index.html").as_uri() + "#1/2")
        page.reload()
        page.wait_for_function("document.body.dataset.shown === '1'")
        assert "wheel" in page.inner_text("#facts")


def test_two_datasets_side_by_side(tmp_path: Path) -> None:
    first = write_dataset(tmp_path / "a", [Written(grey(9), [WHOLE, PART])])
    moved = mask_record(box(12, 10, 70, 50))
    second = write_dataset(tmp_path / "b", [Written(grey(9), [CORNER, moved])])
    summary = write_viewer(ViewerRun(datasets=(first, second), out=tmp_path / "out"))
    assert (summary.images, summary.masks, summary.matched) == (1, 4, 1)
    assert summary.sets == ("a", "b")
    with open_page((tmp_path / "out" / "index.html").as_uri() + "#1") as page:
        page.wait_for_function("document.body.dataset.shown === '1'")
        matched = pixel(page, 60, 20), pixel(page, 60, 20, pane=1)
        assert alike(*matched)
        assert not alike(matched[0], [255, 59, 48])
        for alone in (pixel(page, 25, 30), pixel(page, 75, 55, pane=1)):
            assert alike(alone, [255, 59, 48])
        page.select_option("#match", "0")
        assert page.inner_text("#total") == "1 of 1 images, 2 masks"
        assert "a: 1 of 2 masks" in page.inner_text("#panes")
