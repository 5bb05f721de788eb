"""One browser for all of these tests, and a fresh profile for each."""

import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.browser import Annotator, chromium
from tests.support.served import Served

VIEW = {"width": 1200, "height": 800}


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium; its version is printed, for it is not pinned."""
    with chromium() as browser:
        sys.stderr.write(f"chromium {browser.version}\n")
        yield browser


@pytest.fixture
def visit(browser: Any) -> Iterator[Callable[..., Annotator]]:
    """Opens somebody's link in a profile of its own. Pages must not complain."""
    contexts = []
    visitors: list[Annotator] = []

    def open_link(served: Served, name: str = "anna", **options: Any) -> Annotator:
        context = browser.new_context(**{"viewport": VIEW, **options})
        contexts.append(context)
        annotator = Annotator(context.new_page(), served)
        visitors.append(annotator)
        annotator.open(name)
        return annotator

    yield open_link
    for context in contexts:
        context.close()
    assert [error for each in visitors for error in each.errors] == []
