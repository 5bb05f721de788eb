"""Pages from a file in a real browser; tests of them are skipped where there is none."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.support.browser import chromium


@contextmanager
def open_page(url: str, *, width: int = 1200, height: int = 800) -> Iterator[Any]:
    """A Playwright page at a URL; errors of its scripts fail the test when the block ends."""
    pytest.importorskip("playwright")
    errors: list[str] = []
    with chromium() as browser:
        page = browser.new_page(viewport={"width": width, "height": height})
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(url)
        yield page
    assert not errors
