"""What people do, with the bundled model: the page's pixels are the journal's and the dataset's."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sa_engine.dataset.reader import Dataset
from sa_engine.formats.work.folding import ImageWork, fold
from sa_engine.formats.work.log import read_journal
from sa_engine.masks.rle import Rle, decode
from tests.support.browser import Annotator, need_browser
from tests.support.served import Served, serving, write_photos

Visit = Callable[..., Annotator]
SIZE = (300, 400)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    need_browser()
    photos = write_photos(tmp_path_factory.mktemp("flows") / "photos", 24, SIZE)
    out = photos.parent / "dataset"
    with serving(["--images", photos, "--out", out, "--annotator", "anna"]) as served:
        served.work = photos.parent / "dataset.annotate"
        yield served


def journal(annotator: Annotator) -> ImageWork:
    """What the journal has of the image at hand."""
    annotator.saved()
    answers = fold(read_journal(annotator.served.work).believed())
    return answers.image(annotator.js("annotate.state.image.id"))


def kept(work: ImageWork) -> list[Any]:
    return [
        decode(Rle(tuple(drawn.last["rle"]["size"]), drawn.last["rle"]["counts"]))
        for drawn in work.live()
        if drawn.last is not None
    ]


def test_clicks_candidates_and_finish(served: Served, visit: Visit) -> None:
    anna = visit(served)
    anna.click(134, 150)
    assert anna.js("annotate.state.hand.answer.iou.length") == 3
    anna.shows("#candidates", "3 detail")
    assert anna.page.locator(".candidate").count() == 3
    areas = anna.js("annotate.state.hand.answer.area")
    assert areas == sorted(areas, reverse=True)
    anna.press("3")
    third = anna.hand()
    anna.press("1")
    first = anna.hand()
    assert first.sum() > third.sum() > 0
    anna.click(380, 20, button="right")
    assert anna.js("annotate.state.hand.points.map((point) => point[2])") == [1, 0]
    before = anna.hand()
    anna.press("Enter")
    (mask,) = anna.masks()
    assert np.array_equal(mask, before)
    work = journal(anna)
    assert np.array_equal(kept(work)[0], before)
    event = work.live()[0].last
    assert event is not None
    assert event["clicks"] == {"foreground": 1, "background": 1, "boxes": 0, "undone": 0}
    assert event["clock"][0]["work"] > 0
    assert len(event["model"]) == 64
    anna.shows("#light", "saved")


def test_brush_and_eraser_stay_when_clicks_come(served: Served, visit: Visit) -> None:
    anna = visit(served)
    anna.press("b")
    anna.js("annotate.setBrush(20)")
    anna.drag((300, 60), (360, 60))
    painted = anna.hand()
    assert painted[60, 330]
    assert painted.sum() == pytest.approx(20 * 60 + np.pi * 100, rel=0.1)
    anna.press("q")
    anna.click(134, 150)
    both = anna.hand()
    assert (both & painted).sum() == painted.sum()
    assert both[150, 134]
    anna.press("e")
    anna.drag((120, 150), (150, 150))
    assert not anna.hand()[150, 134]
    anna.press("q")
    anna.click(120, 120)
    assert not anna.hand()[150, 134]
    anna.press("Enter")
    anna.saved()
    event = journal(anna).live()[0].last
    assert event is not None
    assert event["strokes"]["count"] == 2
    assert event["strokes"]["added_px"] > 1000
    assert event["strokes"]["erased_px"] > 100


def test_a_box_and_a_fill(served: Served, visit: Visit) -> None:
    anna = visit(served)
    before = anna.js("annotate.marks.answers || 0")
    anna.drag((50, 70), (215, 230), shift=True)
    anna.wait(f"annotate.marks.answers > {before}")
    assert anna.js("annotate.state.hand.box")[0] == pytest.approx(50, abs=1)
    assert anna.hand()[150, 134]
    anna.press("Escape")
    anna.press("b")
    anna.js("annotate.setBrush(4)")
    anna.drag((250, 100), (350, 100), (350, 200), (250, 200), (250, 100))
    assert not anna.hand()[150, 300]
    anna.press("Shift+B")
    assert anna.hand()[150, 300]


def test_undo_to_the_start_and_back(served: Served, visit: Visit) -> None:
    anna = visit(served)
    states = [anna.hand()]
    anna.click(134, 150)
    states.append(anna.hand())
    anna.press("1")
    states.append(anna.hand())
    anna.press("b")
    anna.drag((300, 60), (330, 60))
    states.append(anna.hand())
    anna.press("Enter")
    (finished,) = anna.masks()
    assert np.array_equal(finished, states[-1])
    answers = anna.js("annotate.marks.answers")
    for expected in reversed(states):
        anna.press("Control+z")
        assert np.array_equal(anna.hand(), expected)
    assert anna.masks() == []
    assert journal(anna).live() == []
    for expected in [*states[1:], np.zeros(SIZE, bool)]:
        anna.press("Control+Shift+Z")
        assert np.array_equal(anna.hand(), expected)
    assert np.array_equal(anna.masks()[0], finished)
    assert np.array_equal(kept(journal(anna))[0], finished)
    # What is known is not asked for again.
    assert anna.js("annotate.marks.answers") == answers


def test_edit_and_delete_a_finished_mask(served: Served, visit: Visit) -> None:
    anna = visit(served)
    anna.press("b")
    anna.js("annotate.setBrush(40)")
    anna.drag((250, 150), (330, 150))
    anna.press("Enter")
    (first,) = anna.masks()
    anna.press("v")
    anna.page.mouse.click(*anna.at(290, 150))
    anna.press("Enter")
    assert np.array_equal(anna.hand(), first)
    anna.press("b")
    anna.drag((290, 180), (290, 210))
    edited = anna.hand()
    anna.press("Enter")
    (mask,) = anna.masks()
    assert np.array_equal(mask, edited)
    work = journal(anna)
    assert [entry["how"] for entry in work.live()[0].history] == ["drawn", "edited"]
    anna.press("v")
    anna.page.mouse.click(*anna.at(290, 150))
    anna.press("Delete")
    assert anna.masks() == []
    assert journal(anna).removed == 1
    anna.press("Control+z")
    assert np.array_equal(anna.masks()[0], edited)
    assert np.array_equal(kept(journal(anna))[0], edited)


def test_a_click_on_an_existing_mask_changes_what_it_hits(served: Served, visit: Visit) -> None:
    anna = visit(served)
    anna.click(134, 150)
    anna.press("b")
    anna.js("annotate.setBrush(40)")
    anna.drag((320, 60), (360, 60))
    anna.press("Enter")
    (before,) = anna.masks()
    anna.press("v")
    anna.page.mouse.click(*anna.at(340, 60))
    anna.press("Enter", "q")
    anna.click(340, 60, button="right")
    after = anna.hand()
    # The lump that was clicked is all that may go; what is far from it stays.
    changed = before != after
    assert not changed[120:180, 100:170].any()
    if changed.any():
        assert not after[60, 340]
    else:
        assert "no change" in anna.page.inner_text("#hint")


def test_the_keyboard_alone(served: Served, visit: Visit) -> None:
    anna = visit(served)
    anna.page.locator("#canvas").focus()
    anna.press("ArrowLeft")
    for _ in range(10):
        anna.press("Shift+ArrowLeft")
    before = anna.js("annotate.marks.answers || 0")
    anna.press("Space")
    anna.wait(f"(annotate.marks.answers || 0) > {before}")
    x, y = anna.js("annotate.state.cross")
    assert anna.js("annotate.state.hand.points") == [[x, y, 1]]
    anna.press("Shift+Space")
    anna.wait("annotate.state.hand.points.length === 2 && !annotate.busy.flying")
    anna.press("Control+z", "Enter")
    assert len(anna.masks()) == 1
    assert "finished" in anna.page.inner_text("#live")
    anna.press("b")
    anna.page.keyboard.down("Space")
    for _ in range(3):
        anna.press("Shift+ArrowDown")
    anna.page.keyboard.up("Space")
    assert anna.hand().sum() > 24 * 20
    anna.press("Enter")
    assert len(anna.masks()) == 2
    anna.done()
    assert anna.js("annotate.state.masks.size") == 0


def test_skip_with_a_reason_and_go_back(served: Served, visit: Visit) -> None:
    anna = visit(served)
    first = anna.js("annotate.state.image.id")
    anna.press("s")
    anna.page.locator("#ask button", has_text="too hard").click()
    anna.wait(f"annotate.state.image && annotate.state.image.id !== {first}")
    answers = fold(read_journal(served.work).believed())
    assert (answers.image(first).state.value, answers.image(first).reason) == (
        "skipped",
        "too hard",
    )
    anna.press("PageUp")
    anna.wait(f"annotate.state.image && annotate.state.image.id === {first}")


def test_an_empty_mask_is_refused_and_crumbs_go(served: Served, visit: Visit) -> None:
    anna = visit(served)
    anna.press("b")
    anna.js("annotate.setBrush(4)")
    anna.drag((300, 60), (301, 60))
    anna.js("annotate.setBrush(40)")
    anna.drag((250, 200), (300, 200))
    anna.press("k")
    hand = anna.hand()
    assert not hand[60, 300]
    assert hand[200, 275]
    anna.press("e")
    anna.js("annotate.setBrush(400)")
    anna.drag((200, 150), (300, 150))
    anna.press("Enter")
    assert "empty" in anna.page.inner_text("#hint")
    assert anna.masks() == []


def test_zoomed_in_the_view_is_encoded(served: Served, visit: Visit) -> None:
    anna = visit(served)
    anna.page.mouse.move(*anna.at(134, 150))
    for _ in range(8):
        anna.page.mouse.wheel(0, -240)
    anna.wait("annotate.state.frames.some((frame) => frame.ready)")
    x, y, w, h = anna.js("annotate.state.frames.find((frame) => frame.ready).rect")
    assert w < SIZE[1]
    anna.click(134, 150)
    assert anna.js("annotate.state.hand.answer.frame") == [x, y, w, h]
    hand = anna.hand()
    assert not hand[:, :x].any()
    assert not hand[:y].any()
    anna.press("Enter")
    event = journal(anna).live()[0].last
    assert event is not None
    assert event["frame"] == [x, y, w, h]


def test_wheel_zoom_keeps_the_place_and_drag_pans(served: Served, visit: Visit) -> None:
    anna = visit(served)
    before = anna.at(200, 100)
    anna.page.mouse.move(*before)
    anna.page.mouse.wheel(0, -300)
    anna.wait("annotate.marks.drawn > 0")
    assert anna.at(200, 100) == pytest.approx(before, abs=1)
    anna.page.mouse.down(button="middle")
    anna.page.mouse.move(before[0] + 40, before[1] + 25)
    anna.page.mouse.up(button="middle")
    assert anna.at(200, 100) == pytest.approx((before[0] + 40, before[1] + 25), abs=1)
    anna.press("0")
    assert anna.js("annotate.view.y") > 0


def test_the_dataset_has_the_pages_pixels(tmp_path: Path, visit: Visit) -> None:
    photos = write_photos(tmp_path / "photos", 2, (90, 120))
    out = tmp_path / "dataset"
    options: list[str | Path] = [
        "--images",
        photos,
        "--out",
        out,
        "--no-model",
        "--annotator",
        "anna",
    ]
    with serving(options) as served:
        anna = visit(served)
        drawn = {}
        for _ in range(2):
            anna.press("b")
            anna.drag((30, 30), (60, 50))
            drawn[anna.js("annotate.state.image.name")] = anna.hand()
            anna.done()
        assert served.process.wait(timeout=60) == 0
    for record in Dataset(out).images():
        (mask,) = record.annotations
        assert np.array_equal(decode(mask.segmentation), drawn[Path(record.source).name])
        said = mask.attributes["annotate"]
        assert mask.time_spent_s == pytest.approx(
            said["seconds"]["search"] + said["seconds"]["work"], abs=0.01
        )
    report = json.loads((out / "import-report.json").read_text())
    assert report["masks"]["kept"] == 2
