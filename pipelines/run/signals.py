"""SIGINT and SIGTERM as a request to stop after the work in hand."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from sa_engine.errors import InterruptedRun

STOPPING = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """Whether somebody asked the run to stop. Callable, so that it can be passed as a question."""

    def __init__(self) -> None:
        self._asked = threading.Event()

    def __call__(self) -> bool:
        return self._asked.is_set()

    def ask(self) -> None:
        """Ask the run to stop after the image in hand."""
        self._asked.set()


def wait_or_stop(stop: Callable[[], bool], seconds: float) -> None:
    """Sleep, and raise InterruptedRun as soon as `stop` says so."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if stop():
            raise InterruptedRun("the same command continues where it stopped")
        time.sleep(0.1)


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Turn the first SIGINT or SIGTERM into a request; a second one stops at once.

    Outside the main thread signals cannot be handled: the request is then only asked for in code.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def ask(_number: int, _frame: FrameType | None) -> None:
        if request():
            raise KeyboardInterrupt
        request.ask()

    before = {number: signal.signal(number, ask) for number in STOPPING}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
