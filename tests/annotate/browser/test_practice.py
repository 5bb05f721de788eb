"""Practice: the real tools and the real model on a drawn picture, and no trace of it anywhere."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sa_engine.annotate.practice import draw_picture, practice_original
from sa_engine.formats.work.log import read_journal
from tests.support.browser import Annotator, need_browser
from tests.support.served import Served, disc, serving, write_photos

Visit = Callable[..., Annotator]
BALL = disc((600, 900), 235, 215, 120)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    need_browser()
    photos = write_photos(tmp_path_factory.mktemp("practice") / "photos", 8, (300, 400))
    out = photos.parent / "dataset"
    with serving(["--images", photos, "--out", out, "--annotator", "anna"]) as served:
        served.work = photos.parent / "dataset.annotate"
        yield served


def kept(served: Served) -> tuple[int, dict[str, bytes]]:
    """How many events of people the journal has, and the drafts."""
    drafts = {path.name: path.read_bytes() for path in (served.work / "drafts").glob("*")}
    events = [event["kind"] for event in read_journal(served.work).believed()]
    return len(events) - events.count("model"), drafts


def start(browser: Any, served: Served) -> Annotator:
    """A page that shows the start."""
    page = browser.new_context(viewport={"width": 1200, "height": 800}).new_page()
    anna = Annotator(page, served)
    page.on("pageerror", lambda error: anna.errors.append(str(error)))
    page.on("request", lambda request: anna.requests.append(request.url))
    page.goto(served.link())
    page.locator("#start[open]").wait_for()
    return anna


def test_the_picture_is_the_same_every_time() -> None:
    assert np.array_equal(draw_picture(), draw_picture())
    original = practice_original()
    assert original.size_hw == (600, 900) == draw_picture().shape[:2]
    assert len(original.data) < 2 << 20


def test_practice_at_the_start_keeps_nothing(served: Served, browser: Any) -> None:
    before = kept(served)
    anna = start(browser, served)
    assert 7 <= anna.page.locator("#start .rules li").count() <= 9
    anna.page.get_by_role("button", name="Practice").click()
    anna.wait("annotate.practice !== null && annotate.drawing.picture !== null")
    anna.shows("#bar", "nothing is kept")
    anna.shows("#light", "nothing is kept")
    anna.click(250, 240)
    hand = anna.hand()
    assert (hand & BALL).sum() / (hand | BALL).sum() > 0.7
    anna.press("Enter")
    # A finished mask is edited, by clicks (with which the mask must be sent) and by the brush.
    anna.press("v")
    anna.page.mouse.click(*anna.at(250, 240))
    anna.press("Enter", "q")
    anna.click(250, 90, button="right")
    assert anna.hand()[240, 250]
    anna.press("b")
    anna.drag((100, 500), (160, 500))
    anna.press("Enter", "Control+z", "Control+Shift+Z")
    assert len(anna.masks()) == 1
    assert anna.masks()[0][500, 130]
    anna.press("q")
    anna.click(537, 455)
    anna.js("annotate.sendDraft({})")  # what the draft's timer does
    anna.page.wait_for_timeout(300)
    sent = [url.partition("/api/")[2] for url in anna.requests if "/api/" in url]
    assert {name.partition("/")[0] for name in sent} == {"session", "practice"}
    assert kept(served) == before
    anna.page.locator("#done", has_text="Begin").click()
    anna.wait("annotate.state.image && annotate.state.image.id > 0 && annotate.drawing.picture")
    assert anna.js("[annotate.practice, annotate.state.hand, annotate.state.past.length]") == [
        None,
        None,
        0,
    ]
    assert anna.masks() == []
    assert kept(served)[0] == before[0] + 1  # the image was opened
    anna.click(134, 150)
    anna.press("Enter")
    anna.saved()
    event = list(read_journal(served.work).believed())[-1]
    assert event["clicks"]["foreground"] == 1
    anna.page.reload()
    anna.wait("annotate && annotate.state.image !== null && annotate.drawing.picture !== null")
    assert not anna.page.is_visible("#start")
    assert anna.errors == []
    anna.page.context.close()


def test_from_the_help_the_work_is_laid_aside(served: Served, visit: Visit) -> None:
    anna = visit(served)
    anna.click(134, 150)
    anna.press("Enter")
    anna.saved()
    anna.click(320, 60)
    anna.press("b")
    anna.drag((300, 60), (340, 60))
    hand, masks = anna.hand(), anna.masks()
    image = anna.js("annotate.state.image.id")
    anna.press("?")
    anna.page.locator("#help").get_by_role("button", name="Practice").click()
    anna.wait("annotate.practice !== null")
    sums = anna.js("Object.values(annotate.practice.app.clock.sums)")
    before = kept(served)[0]
    anna.press("q")
    anna.click(250, 240)
    anna.press("Enter", "s")
    anna.wait("annotate.practice === null")
    assert anna.js("annotate.state.image.id") == image
    # No second of practice counts.
    assert sum(anna.js("Object.values(annotate.clock.sums)")) < sum(sums) + 1.0
    assert np.array_equal(anna.hand(), hand)
    assert np.array_equal(anna.masks()[0], masks[0])
    assert kept(served)[0] == before
    anna.press("Control+z", "Control+z")
    assert anna.hand().sum() == 0
    anna.press("Control+Shift+Z", "Control+Shift+Z", "Enter")
    anna.saved()
    assert kept(served)[0] == before + 1
    # Done, too, leads back; and then is done again.
    anna.press("?")
    anna.page.locator("#help").get_by_role("button", name="Practice").click()
    anna.shows("#done", "Back to the image")
    anna.page.locator("#done").click()
    anna.shows("#done", "Done, next image")
    assert anna.js("annotate.state.image.id") == image


def test_the_image_goes_to_somebody_else_meanwhile(served: Served, visit: Visit) -> None:
    anna = visit(served)
    image = anna.js("annotate.state.image.id")
    anna.js("annotate.practise()")
    anna.wait("annotate.practice !== null")
    anna.js("(annotate.practice.lost = true)")
    anna.js("(annotate.endPractice(), true)")
    anna.wait(f"annotate.state.image !== null && annotate.state.image.id !== {image}")


def test_practice_without_a_model(tmp_path: Path, browser: Any) -> None:
    photos = write_photos(tmp_path / "photos", 1, (90, 120))
    out = tmp_path / "dataset"
    options: list[str | Path] = ["--images", photos, "--out", out, "--no-model"]
    with serving([*options, "--annotator", "anna"]) as served:
        served.work = tmp_path / "dataset.annotate"
        anna = start(browser, served)
        anna.page.get_by_role("button", name="Practice").click()
        anna.shows("#bar", "Press B and paint")
        anna.press("b")
        anna.drag((200, 200), (260, 200))
        anna.press("Enter")
        assert anna.masks()[0][200, 230]
        anna.page.mouse.move(*anna.at(300, 300))
        anna.press("d")
        anna.wait("annotate.state.image && annotate.state.image.id === 1")
        assert kept(served) == (1, {})
        assert anna.errors == []
        anna.page.context.close()
