"""Everybody can use it: axe's rules on every screen, forced colours, small windows, touch, pen."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.browser import Annotator, need_browser
from tests.support.served import Served, serving, write_photos

Visit = Callable[..., Annotator]
SIZE = (120, 160)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    need_browser()
    photos = write_photos(tmp_path_factory.mktemp("access") / "photos", 24, SIZE)
    options: list[str | Path] = [
        "--images",
        photos,
        "--out",
        photos.parent / "dataset",
        "--no-model",
    ]
    with serving([*options, "--annotator", "anna"]) as served:
        yield served


def findings(anna: Annotator) -> list[str]:
    """What axe finds serious or critical, with the elements it means."""
    from axe_playwright_python.base import AXE_FILE_PATH  # type: ignore[import-untyped]

    if not anna.js("typeof globalThis.axe === 'object'"):
        anna.page.add_script_tag(path=str(AXE_FILE_PATH))
    found = anna.page.evaluate("() => axe.run()")
    return [
        f"{rule['id']}: {node['html'][:80]}"
        for rule in found["violations"]
        if rule["impact"] in ("serious", "critical")
        for node in rule["nodes"]
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(served: Served, visit: Visit, scheme: str) -> None:
    anna = visit(served, color_scheme=scheme, bypass_csp=True)
    assert findings(anna) == []
    anna.press("b")
    anna.drag((20, 20), (60, 40))
    assert findings(anna) == []
    anna.press("Enter", "v")
    anna.page.mouse.click(*anna.at(40, 30))
    assert findings(anna) == []
    anna.press("?")
    assert findings(anna) == []
    anna.press("Escape", "s")
    assert findings(anna) == []
    anna.press("Escape", "i")
    assert findings(anna) == []
    anna.press("Escape", "g")
    anna.wait("annotate.state.screen === 'overview'")
    assert findings(anna) == []


def test_the_start_is_clean_as_well(served: Served, browser: Any) -> None:
    context = browser.new_context(bypass_csp=True)
    page = context.new_page()
    page.goto(served.link())
    page.locator("#start[open]").wait_for()
    assert findings(Annotator(page, served)) == []
    context.close()


def test_a_small_window_has_its_panel_in_a_drawer(served: Served, visit: Visit) -> None:
    anna = visit(served, viewport={"width": 900, "height": 600}, forced_colors="active")
    assert not anna.page.locator("#side").is_visible()
    anna.press("b")
    anna.drag((20, 20), (60, 40))
    anna.press("Enter")
    anna.page.locator("#panel-button").click()
    anna.page.locator("#masks li").wait_for(state="visible")
    width = anna.page.evaluate("() => document.documentElement.scrollWidth")
    assert width == 900
    for button in anna.page.locator("button:visible").all():
        box = button.bounding_box()
        assert box["width"] >= 24
        assert box["height"] >= 24


def test_twice_the_pixels(served: Served, visit: Visit) -> None:
    anna = visit(served, device_scale_factor=2)
    width = anna.page.locator("#canvas").bounding_box()["width"]
    assert anna.js("annotate.drawing.canvas.width") == pytest.approx(2 * width, abs=1)
    anna.press("b")
    anna.js("annotate.setBrush(20)")
    anna.drag((80, 60), (80, 60))
    hand = anna.hand()
    assert hand[60, 80]
    assert hand.sum() == pytest.approx(3.14159 * 100, rel=0.05)


def test_keys_can_be_changed_and_switched_off(served: Served, visit: Visit) -> None:
    anna = visit(served)
    anna.press("?")
    anna.page.get_by_role("button", name="change: brush", exact=True).click()
    anna.press("j")
    anna.press("Escape", "j")
    assert anna.js("annotate.state.tool") == "brush"
    anna.press("q", "b")
    assert anna.js("annotate.state.tool") == "click"
    anna.press("?")
    anna.page.locator("#help input[type=checkbox]").uncheck()
    anna.press("Escape")
    anna.page.locator("#help[open]").wait_for(state="detached")
    anna.press("j")
    assert anna.js("annotate.state.tool") == "click"
    anna.press("F1")
    anna.page.locator("#help[open]").wait_for()


def test_lists_by_keyboard(served: Served, visit: Visit) -> None:
    anna = visit(served)
    for y in (20, 60, 100):
        anna.press("b")
        anna.drag((40, y), (60, y))
        anna.press("Enter")
    anna.saved()
    anna.wait("document.querySelectorAll('#masks li').length === 3")
    anna.page.locator("#masks li").first.focus()
    anna.press("Space")
    newest = anna.js("annotate.state.selected")
    assert newest == anna.js("[...annotate.state.masks.keys()][2]")
    anna.page.locator("#masks li").first.focus()
    anna.press("ArrowDown")
    anna.wait("document.activeElement.tagName === 'LI'")
    assert anna.js("annotate.state.selected") == anna.js("[...annotate.state.masks.keys()][1]")


def touch(session: Any, kind: str, *points: tuple[float, float]) -> None:
    session.send(
        "Input.dispatchTouchEvent",
        {
            "type": kind,
            "touchPoints": [{"x": x, "y": y, "id": n} for n, (x, y) in enumerate(points)],
        },
    )


def test_one_finger_paints_and_two_zoom(served: Served, visit: Visit) -> None:
    anna = visit(served, has_touch=True)
    session = anna.page.context.new_cdp_session(anna.page)
    anna.press("b")
    touch(session, "touchStart", anna.at(40, 40))
    touch(session, "touchMove", anna.at(70, 40))
    touch(session, "touchEnd")
    anna.wait("annotate.state.hand !== null && annotate.state.hand.strokes.length === 1")
    painted = anna.hand()
    assert painted[40, 55]
    scale = anna.js("annotate.view.scale")
    (ax, ay), (bx, by) = anna.at(60, 60), anna.at(100, 60)
    touch(session, "touchStart", (ax, ay), (bx, by))
    for step in range(1, 6):
        touch(session, "touchMove", (ax - 12 * step, ay), (bx + 12 * step, by))
    touch(session, "touchEnd")
    anna.wait(f"annotate.view.scale > {scale * 1.2}")
    assert (anna.hand() == painted).all()


def test_a_pen_erases_with_its_other_end(served: Served, visit: Visit) -> None:
    anna = visit(served)
    anna.press("b")
    anna.js("annotate.setBrush(40)")
    anna.drag((60, 60), (100, 60))
    session = anna.page.context.new_cdp_session(anna.page)
    x, y = anna.at(80, 60)
    pen = {"pointerType": "pen", "x": x, "y": y, "button": "right", "clickCount": 1}
    session.send("Input.dispatchMouseEvent", {"type": "mousePressed", "buttons": 2, **pen})
    session.send("Input.dispatchMouseEvent", {"type": "mouseReleased", "buttons": 0, **pen})
    anna.wait("annotate.state.hand.strokes.length === 2")
    assert not anna.hand()[60, 80]
