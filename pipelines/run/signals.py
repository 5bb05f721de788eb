"""Signals that ask a program to stop.

SIGINT and SIGTERM, those that schedulers send before time runs out (SIGUSR1, SIGUSR2, SIGXCPU), and
the one that comes when a terminal closes (SIGHUP).
"""

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from sa_engine.errors import InterruptedRun

STOPPING = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2", "SIGHUP", "SIGXCPU")
    if hasattr(signal, name)
)


_interrupted = threading.Event()
"""Whether `interrupt_on_signals` has raised an interrupt, which other code may have swallowed."""


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
    """Turn the first signal to stop into a request. A second SIGINT stops at once.

    Other signals may be repeated: schedulers send them to every process of a job, more than once.
    Outside the main thread signals cannot be handled: the request is then only asked for in code.
    """
    request = StopRequest()
    if _interrupted.is_set():
        # The program is still running: a package that was being imported has swallowed it.
        request.ask()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    interrupts = 0

    def ask(number: int, _frame: FrameType | None) -> None:
        nonlocal interrupts
        interrupts += number == signal.SIGINT
        if interrupts > 1:
            raise KeyboardInterrupt
        request.ask()

    before = {number: signal.signal(number, ask) for number in _handled()}
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def signals_held_back() -> Iterator[None]:
    """Start a process inside: it gets signals to stop once it is in `stop_on_signals`.

    Until then it could only die of them, with a traceback or an exit status that says nothing.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def interrupt_on_signals() -> None:
    """From now on any signal to stop raises KeyboardInterrupt wherever the program is.

    For the first moments of a program, and for whatever it does outside `stop_on_signals`.
    """
    if threading.current_thread() is threading.main_thread():
        _interrupted.clear()
        for number in _handled():
            signal.signal(number, _interrupt)


def exit_undisturbed(status: int) -> NoReturn:
    """Leave the program with this exit status, whatever is signalled meanwhile."""
    if threading.current_thread() is threading.main_thread():
        for number in STOPPING:
            signal.signal(number, signal.SIG_IGN)
    # Python remembers a KeyboardInterrupt that left an exec() of a string, as dataclasses use, even
    # when it was caught: it would end the program by SIGINT. The next exec() makes it forget.
    exec("")
    sys.exit(status)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    _interrupted.set()
    raise KeyboardInterrupt


def _handled() -> list[signal.Signals]:
    """`nohup` and its like ignore SIGHUP on purpose."""
    return [
        number
        for number in STOPPING
        if number != getattr(signal, "SIGHUP", None)
        or signal.getsignal(number) is not signal.SIG_IGN
    ]
