"""The hover preview: what a click would give, without any trace of having been asked."""

import json
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sa_engine.formats.work.log import read_journal
from tests.support.browser import Annotator, need_browser
from tests.support.served import Served, serving, write_photos

Visit = Callable[..., Annotator]
PREVIEW = "annotate.state.preview"
SLOWER = """(milliseconds) => {
  const fetch = globalThis.realFetch || (globalThis.realFetch = globalThis.fetch);
  globalThis.fetch = async (...asked) => {
    const answer = await fetch(...asked);
    if (!String(asked[0]).endsWith("/predict")) return answer;
    await new Promise((resolve) => {
      globalThis.letGo = resolve;
      if (milliseconds !== null) setTimeout(resolve, milliseconds);
    });
    return answer;
  };
}"""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    need_browser()
    photos = write_photos(tmp_path_factory.mktemp("hover") / "photos", 8, (300, 400))
    out = photos.parent / "dataset"
    with serving(["--images", photos, "--out", out, "--annotator", "anna"]) as served:
        served.work = photos.parent / "dataset.annotate"
        yield served


def asked(anna: Annotator) -> list[dict[str, Any]]:
    """What the model is asked from now on."""
    found: list[dict[str, Any]] = []

    def keep(request: Any) -> None:
        if request.url.endswith("/predict"):
            found.append(json.loads(request.post_data))

    anna.page.on("request", keep)
    return found


def point_at(anna: Annotator, x: float, y: float) -> None:
    """Move the pointer there and wait for the preview of the place."""
    before = anna.js("annotate.marks.previews || 0")
    anna.page.mouse.move(*anna.at(x, y))
    anna.wait(f"(annotate.marks.previews || 0) > {before}")


def ready(anna: Annotator) -> None:
    """Until the image is encoded: a click is answered, and dropped. However slow the machine."""
    anna.click(134, 150)
    anna.press("Escape")
    anna.js("annotate.outbox.emptied()")
    anna.page.mouse.move(1, 1)
    anna.js("annotate.hover.slowMs = 1e9")


def test_a_preview_is_what_a_click_gives_and_leaves_no_trace(served: Served, visit: Visit) -> None:
    anna = visit(served)
    ready(anna)
    events = len(list(read_journal(served.work).believed()))
    clock = anna.js("[annotate.clock.phase, annotate.clock.input, annotate.state.past.length]")
    previews = anna.js("annotate.marks.previews || 0")
    anna.page.mouse.move(*anna.at(120, 140))
    anna.page.wait_for_timeout(400)
    assert anna.js("annotate.marks.previews || 0") == previews  # off by default
    anna.press("p")
    clock[1] = anna.js("annotate.clock.input")  # the key itself is input
    point_at(anna, 134, 150)
    before = anna.page.screenshot()
    seen = anna.js(f"[{PREVIEW}.points, Array.from({PREVIEW}.answer.logits[0])]")
    assert seen[0][0][:2] == pytest.approx((134, 150), abs=1)
    assert anna.js(f"{PREVIEW}.answer.prediction") == ""
    assert anna.js("annotate.state.hand") is None
    assert anna.hand().sum() == 0
    assert clock == anna.js(
        "[annotate.clock.phase, annotate.clock.input, annotate.state.past.length]"
    )
    anna.page.wait_for_timeout(300)
    assert len(list(read_journal(served.work).believed())) == events
    # The click's own answer, and no other.
    anna.click(134, 150)
    assert anna.js(PREVIEW) is None
    assert np.array_equal(anna.js("Array.from(annotate.state.hand.answer.logits[0])"), seen[1])
    assert anna.js("annotate.state.hand.answer.prediction").startswith("p-")
    assert anna.page.screenshot() != before
    anna.press("Enter")
    anna.saved()
    kept = list(read_journal(served.work).believed())
    assert [event["kind"] for event in kept[events:]] == ["mask"]
    assert kept[-1]["clicks"] == {"foreground": 1, "background": 0, "boxes": 0, "undone": 0}


def test_at_most_eight_a_second_and_only_where_the_pointer_moves(
    served: Served, visit: Visit
) -> None:
    anna = visit(served)
    ready(anna)
    anna.press("p")
    anna.page.evaluate("""() => {
      const fetch = globalThis.fetch;
      globalThis.times = [];
      globalThis.fetch = (...asked) => {
        if (String(asked[0]).endsWith("/predict")) times.push(performance.now());
        return fetch(...asked);
      };
    }""")
    anna.page.mouse.move(*anna.at(60, 100))
    for y in (160, 120, 170):
        anna.page.mouse.move(*anna.at(200, y), steps=60)
        anna.page.mouse.move(*anna.at(60, 100), steps=60)
    anna.page.wait_for_timeout(500)
    times = anna.page.evaluate("times")
    assert len(times) > 3
    assert min(b - a for a, b in pairwise(times)) >= 124.9
    # A pointer that rests, or is told of again, asks nothing.
    anna.page.mouse.move(*anna.at(209, 174.5))
    anna.page.wait_for_timeout(400)
    count = len(anna.page.evaluate("times"))
    for _ in range(5):
        anna.page.mouse.move(*anna.at(209, 174.5))
    anna.page.wait_for_timeout(500)
    assert len(anna.page.evaluate("times")) == count
    assert anna.js(f"{PREVIEW} !== null")
    # It goes with the pointer: out of the picture, and out of the canvas.
    anna.page.mouse.move(*anna.at(-2, 100))
    anna.wait(f"{PREVIEW} === null")
    point_at(anna, 134, 150)
    anna.page.mouse.move(600, 5)
    anna.wait(f"{PREVIEW} === null")
    count = len(anna.page.evaluate("times"))
    # With the brush, and with a mask selected, a click would give something else.
    anna.press("b")
    anna.page.mouse.move(*anna.at(140, 140))
    anna.page.wait_for_timeout(300)
    assert len(anna.page.evaluate("times")) == count


def test_never_while_a_click_waits(served: Served, visit: Visit) -> None:
    anna = visit(served)
    ready(anna)
    anna.press("p")
    point_at(anna, 100, 100)
    bodies = asked(anna)
    anna.page.evaluate(SLOWER, None)
    anna.page.mouse.click(*anna.at(134, 150))
    # Dropped, so that nothing is in hand, while its answer is still on its way.
    anna.press("Escape")
    assert anna.js("annotate.busy.flying !== null")
    anna.page.mouse.move(*anna.at(120, 120), steps=12)
    anna.page.wait_for_timeout(400)
    assert anna.js("annotate.busy.flying !== null")
    assert [body.get("preview", False) for body in bodies] == [False]
    anna.page.evaluate("letGo()")
    anna.wait("annotate.busy.flying === null")
    anna.page.mouse.move(*anna.at(140, 120))
    anna.page.wait_for_timeout(400)
    assert [body.get("preview", False) for body in bodies][1:] == [True]


def test_slow_answers_pause_it_and_quick_ones_bring_it_back(served: Served, visit: Visit) -> None:
    anna = visit(served)
    ready(anna)
    anna.press("p")
    anna.shows("#keys", "P preview (on)")
    anna.js("annotate.hover.slowMs = 150")
    anna.page.evaluate(SLOWER, 220)
    for step in range(60):
        if anna.js("annotate.hover.isSlow"):
            break
        anna.page.mouse.move(*anna.at(100 + step, 120))
        anna.page.wait_for_timeout(100)
    anna.shows("#hint", "Preview paused: answers take")
    anna.shows("#keys", "P preview (paused)")
    assert anna.js(PREVIEW) is None
    bodies = asked(anna)
    anna.page.mouse.move(*anna.at(150, 130), steps=5)
    anna.page.wait_for_timeout(300)
    assert bodies == []
    anna.page.evaluate(SLOWER, 0)
    anna.js("annotate.hover.slowMs = 1e9")
    for _ in range(5):
        anna.click(134, 150)
        anna.press("Escape")
        if not anna.js("annotate.hover.isSlow"):
            break
    anna.wait("!annotate.hover.isSlow")
    anna.shows("#hint", "the preview is back")
    point_at(anna, 120, 140)


def test_it_is_remembered_and_goes_off_again(served: Served, visit: Visit) -> None:
    anna = visit(served)
    ready(anna)
    anna.press("p")
    anna.page.reload()
    anna.wait("annotate && annotate.state.image !== null && annotate.drawing.picture !== null")
    point_at(anna, 134, 150)
    anna.press("p")
    anna.shows("#hint", "Preview off")
    assert anna.js(PREVIEW) is None
    anna.press("?")
    anna.shows("#help", "preview under the pointer, on or off")


def test_without_a_model_the_key_says_so(tmp_path: Path, visit: Visit) -> None:
    photos = write_photos(tmp_path / "photos", 1, (90, 120))
    out = tmp_path / "dataset"
    options: list[str | Path] = ["--images", photos, "--out", out, "--no-model"]
    with serving([*options, "--annotator", "anna"]) as served:
        anna = visit(served)
        bodies = asked(anna)
        anna.press("p")
        anna.shows("#hint", "no model, so there is no preview")
        anna.page.mouse.move(*anna.at(50, 50))
        anna.page.wait_for_timeout(300)
        assert bodies == []
        assert "preview" not in anna.page.inner_text("#keys")
