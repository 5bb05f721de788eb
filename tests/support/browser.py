"""The page of `sa-engine annotate` in Debian's Chromium, driven by a script."""

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sa_engine.masks.rle import Rle, decode
from tests.support.served import Served

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
WAIT_S = 30.0


def need_browser() -> None:
    """Skip where there is no browser; on CI one must be there."""
    if CHROMIUM is None:
        if os.environ.get("CI") == "true":
            pytest.fail("chromium is not installed: apt-get install chromium")
        pytest.skip("no chromium")


_RUNNING: list[Any] = []
"""Browsers of this process: Playwright's synchronous interface can be started once at a time."""


@contextmanager
def chromium(*arguments: str) -> Iterator[Any]:
    """A browser of its own."""
    need_browser()
    if _RUNNING:
        with another_browser(_RUNNING[0], *arguments) as browser:
            yield browser
        return
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=_flags(arguments))
        _RUNNING.append(browser)
        try:
            yield browser
        finally:
            _RUNNING.remove(browser)
            browser.close()


@contextmanager
def another_browser(browser: Any, *arguments: str) -> Iterator[Any]:
    """One more beside a browser, with flags of its own."""
    other = browser.browser_type.launch(executable_path=CHROMIUM, args=_flags(arguments))
    yield other
    other.close()


def _flags(arguments: tuple[str, ...]) -> list[str]:
    # Root has no sandbox to put pages in.
    return [*arguments, *(["--no-sandbox"] if os.getuid() == 0 else [])]


@dataclass(slots=True)
class Annotator:
    """A person at the page. errors: what the page complained of."""

    page: Any
    served: Served
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def open(self, name: str = "anna", *, first: bool = True) -> None:
        """Open one's link and begin; returns once an image is there."""
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(self.served.link(name))
        if first:
            self.page.locator("#start[open] button.primary").click()
        self.wait("annotate.state.image !== null && annotate.drawing.picture !== null")

    def wait(self, expression: str, timeout_s: float = WAIT_S) -> Any:
        """Until an expression of the page is true."""
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            found = self.js(expression)
            if found:
                return found
            self.page.wait_for_timeout(20)
        note = self.page.inner_text("#note") if self.page.is_visible("#note") else ""
        raise AssertionError(f"never true: {expression} ({note} {self.errors})")

    def js(self, expression: str, argument: Any = None) -> Any:
        """The value of an expression; `arg` in it is the argument."""
        return self.page.evaluate(
            f"(arg) => {{ const annotate = globalThis.annotate;"
            f" return annotate && ({expression}); }}",
            argument,
        )

    def module(self, name: str, expression: str, argument: Any = None) -> Any:
        """The value of an expression about a module of the page, `m` in it."""
        return self.page.evaluate(
            f"""async ([name, arg]) => {{
              const main = document.querySelector('script[type=module]').src;
              const m = await import(main.replace('main.js', name));
              const annotate = globalThis.annotate;
              return await (async () => ({expression}))();
            }}""",
            [name, argument],
        )

    def at(self, x: float, y: float) -> tuple[float, float]:
        """A place of the image on the screen."""
        box = self.page.locator("#canvas").bounding_box()
        scale, left, top, ratio = self.js(
            "[annotate.view.scale, annotate.view.x, annotate.view.y, devicePixelRatio]"
        )
        return box["x"] + (x * scale + left) / ratio, box["y"] + (y * scale + top) / ratio

    def click(self, x: float, y: float, *, button: str = "left") -> None:
        """Click a place of the image and wait for the model's answer."""
        before = self.js("annotate.marks.answers || 0")
        self.page.mouse.click(*self.at(x, y), button=button)
        self.wait(f"(annotate.marks.answers || 0) > {before}")
        self.wait("!annotate.busy.flying")

    def drag(self, *places: tuple[float, float], shift: bool = False, button: str = "left") -> None:
        """Press at the first place, move over the others, and let go."""
        if shift:
            self.page.keyboard.down("Shift")
        self.page.mouse.move(*self.at(*places[0]))
        self.page.mouse.down(button=button)
        for place in places[1:]:
            self.page.mouse.move(*self.at(*place), steps=6)
        self.page.mouse.up(button=button)
        if shift:
            self.page.keyboard.up("Shift")

    def press(self, *keys: str) -> None:
        """Press keys, one after the other."""
        for key in keys:
            self.page.keyboard.press(key)

    def hand(self) -> NDArray[np.bool_]:
        """The pixels of the mask in hand, (H, W) bool."""
        said = self.module(
            "core/hand.js",
            """(() => {
              const { state, drawing } = annotate;
              if (!state.hand) return null;
              const size = [state.image.height, state.image.width];
              const overlay = drawing.overlay ? drawing.overlay.pixels : null;
              const found = m.handBits(state.hand, size, overlay);
              return { size, rect: found && found.rect, bits: found && Array.from(found.bits) };
            })()""",
        )
        height, width = (
            said["size"]
            if said
            else self.js("[annotate.state.image.height, annotate.state.image.width]")
        )
        mask = np.zeros((height, width), bool)
        if said and said["rect"]:
            x0, y0, x1, y1 = said["rect"]
            mask[y0:y1, x0:x1] = np.array(said["bits"], bool).reshape(y1 - y0, x1 - x0)
        return mask

    def shows(self, place: str, text: str) -> None:
        """Wait until a place of the page holds a text: panels follow with the next frame."""
        self.page.locator(place, has_text=text).wait_for(state="attached", timeout=1000 * WAIT_S)

    def masks(self) -> list[NDArray[np.bool_]]:
        """The finished masks, in order, as the page has them."""
        found = self.js("[...annotate.state.masks.values()].map((mask) => mask.rle)")
        return [decode(Rle(tuple(each["size"]), each["counts"])) for each in found]

    def saved(self) -> None:
        """Wait until the server has acknowledged everything."""
        self.wait("annotate.outbox.pending() === 0")

    def done(self, *, alone: bool = True) -> None:
        """Done with the image; returns with the next one, or once there is none.

        alone: whether there is none only when all are done; others may have the last ones.
        """
        image = self.js("annotate.state.image.id")
        self.press("d")
        over = "annotate.outbox.pending() === 0"
        if alone:
            over += " && annotate.state.session.counts.open === 0"
        self.wait(f"annotate.state.image ? annotate.state.image.id !== {image} : {over}")
