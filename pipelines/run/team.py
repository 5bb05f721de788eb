"""The worker processes of a run on one machine: started, listened to, and replaced when they die.

Workers are processes of their own even when there is one, so that whatever kills one of them (a
decoder's segfault, the kernel's out-of-memory killer) costs one image and not the run.
"""

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any

import numpy as np

from sa_engine.dataset.folder.base import Folder, open_folder
from sa_engine.dataset.images.reading import StoredImage
from sa_engine.dataset.shards.stats import failure_reason
from sa_engine.dataset.sources.listing import Source
from sa_engine.errors import BrokenWorker, InterruptedRun, SaEngineError
from sa_engine.pipelines.run.blame import (
    KILLED_WORKER,
    TIME_LIMIT,
    OutOfMemoryKills,
    blame,
    is_fault,
)
from sa_engine.pipelines.run.cores import usable_cores
from sa_engine.pipelines.run.events import (
    ImageDone,
    ImageStarted,
    ShardClosed,
    ShardLost,
    ShardOpened,
    ShardRetried,
)
from sa_engine.pipelines.run.one_image import Annotate, Annotator, Reading
from sa_engine.pipelines.run.signals import StopRequest, signals_held_back, stop_on_signals
from sa_engine.pipelines.run.watch import Watch
from sa_engine.pipelines.run.worker import Part, Retry, work
from sa_engine.pipelines.run.workers import Workers

MAX_DEATHS = 5
"""Deaths of a worker in a row, with no image finished between them, after which the run stops.

An image that is passed over is not finished: where every image kills, something else is wrong."""

PROOF_SIDE = 64
"""Side of an empty picture, pixels, on which a worker shows that it has memory to begin."""

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")

_TICK_S = 0.5


@dataclass(frozen=True, slots=True)
class _Order:
    """What a worker process is told."""

    url: str
    annotator: Annotator
    reading: Reading
    part: Part
    number: int
    retry: Retry
    wait: bool
    prove: bool


class _Proved:
    """What a worker says that has memory enough for an empty picture."""


@dataclass(frozen=True, slots=True)
class _Opened:
    """An annotator that is open."""

    annotate: Annotate

    def open(self, worker: int) -> Annotate:  # noqa: ARG002 - there is one
        return self.annotate


@dataclass(slots=True)
class _Member:
    """A worker process, the end of its pipe, and what it was last seen with.

    has_spoken: whether it has said anything; received_at: when, last.
    shard_index: of the shard that it has in hand.
    is_slow: it was stopped because it had said nothing for too long.
    accused: the image with which the process in this one's place was killed for want of memory; it
        is to blame if this one has memory enough for an empty picture.
    """

    number: int
    process: SpawnProcess
    pipe: Connection
    in_hand: ImageStarted | None = None
    has_spoken: bool = False
    received_at: float = field(default_factory=time.monotonic)
    shard_index: int | None = None
    is_slow: bool = False
    finished: bool = False
    last_words: str = ""
    accused: ImageStarted | None = None


class Team:
    """The worker processes of a run."""

    def __init__(
        self, folder: Folder, annotator: Annotator, reading: Reading, workers: Workers
    ) -> None:
        self._folder, self._annotator, self._reading = folder, annotator, reading
        self._workers = workers
        self._context = multiprocessing.get_context("spawn")
        self._members: list[_Member] = []
        self._deaths = 0
        self._suffices = False
        self._oom_kills = OutOfMemoryKills()

    def run(self, watch: Watch, stop: StopRequest) -> None:
        """Until every worker says that nothing is left."""
        retry = watch.retry()
        first = self._workers.first
        numbers = range(first, first + self._workers.count)
        self._members = [self._start(number, retry) for number in numbers]
        asked = False
        while self._members:
            if stop() and not asked:
                asked = True
                self._ask_to_stop()
            for ready in wait([m.pipe for m in self._members], timeout=_TICK_S):
                member = next(m for m in self._members if m.pipe is ready)
                self._receive(member, watch, stopping=asked)
            self._stop_the_slow()
        if asked:
            raise InterruptedRun("the same command continues where it stopped")

    def dismiss(self) -> None:
        """Leave no process behind, whatever happened."""
        self._ask_to_stop()
        until = time.monotonic() + 10
        for member in self._members:
            member.process.join(max(0.0, until - time.monotonic()))
            if member.process.is_alive():
                member.process.kill()
                member.process.join()
            member.pipe.close()
        self._members = []

    def _start(self, number: int, retry: Retry, accused: ImageStarted | None = None) -> _Member:
        ours, theirs = self._context.Pipe(duplex=False)
        order = _Order(
            self._folder.url,
            self._annotator,
            self._reading,
            self._workers.part,
            number,
            retry,
            self._workers.wait,
            accused is not None,
        )
        process = self._context.Process(target=_serve, args=(order, theirs), daemon=True)
        threads = max(1, usable_cores() // self._workers.count)
        # Started with the first child otherwise, after which Python lets SIGINT and SIGTERM in.
        resource_tracker.ensure_running()
        with _threads_in_environment(threads), signals_held_back():
            process.start()
        theirs.close()
        return _Member(number, process, ours, accused=accused)

    def _receive(self, member: _Member, watch: Watch, *, stopping: bool) -> None:
        try:
            message: Any = member.pipe.recv()
        except (EOFError, OSError):
            self._reap(member, watch, stopping=stopping)
            return
        member.has_spoken, member.received_at = True, time.monotonic()
        if isinstance(message, BrokenWorker):
            member.last_words = f": {message}"
        elif isinstance(message, BaseException):
            member.finished = True
            if not (stopping and isinstance(message, InterruptedRun)):
                raise message
        elif message is None:
            member.finished = True
        else:
            if isinstance(message, _Proved):
                self._suffices = True
                if member.accused is not None:
                    blame(self._folder, member.accused.shard_index, member.accused.image_id)
                    member.accused = None
                return
            if isinstance(message, ShardOpened | ImageStarted):
                member.shard_index = message.shard_index
            elif isinstance(message, ShardClosed | ShardLost | ShardRetried):
                # From now on it may wait for others, as long as it takes.
                member.shard_index = member.in_hand = None
            if isinstance(message, ImageStarted):
                member.in_hand = message
            elif isinstance(message, ImageDone):
                if member.in_hand is not None and member.in_hand.image_id == message.image_id:
                    member.in_hand = None
                if failure_reason(message.error) not in (KILLED_WORKER, TIME_LIMIT):
                    self._deaths = 0
                    self._suffices = True
            watch.see(message)

    def _reap(self, member: _Member, watch: Watch, *, stopping: bool) -> None:
        """A worker's pipe has closed: it is done, or dead and to be replaced."""
        member.process.join()
        member.pipe.close()
        self._members.remove(member)
        if member.finished or stopping:
            return
        self._deaths += 1
        code, accused = member.process.exitcode, member.accused
        if member.is_slow and member.shard_index is not None:
            image_id = 0 if member.in_hand is None else member.in_hand.image_id
            blame(self._folder, member.shard_index, image_id, is_slow=True)
        elif is_fault(code, self._oom_kills):
            if accused is not None and code == -signal.SIGKILL:
                raise SaEngineError(
                    "there is too little memory even for an empty picture: workers were killed "
                    "for want of it before any image was finished; give them more memory or fewer "
                    "--workers, and run the same command again"
                )
            if member.in_hand is not None and code == -signal.SIGKILL and not self._suffices:
                accused = member.in_hand
            elif member.in_hand is not None:
                blame(self._folder, member.in_hand.shard_index, member.in_hand.image_id)
        if self._deaths >= MAX_DEATHS:
            raise SaEngineError(
                f"workers died {self._deaths} times without finishing an image, the last "
                f"{_cause(member.process.exitcode)}{member.last_words}: {_advice(member)}"
            )
        self._members.append(self._start(member.number, watch.retry(), accused))

    def _stop_the_slow(self) -> None:
        """Kill workers that have a shard in hand and have said nothing for too long."""
        limit, now = self._workers.image_seconds, time.monotonic()
        for member in self._members:
            busy = member.shard_index is not None and not member.is_slow
            if limit is not None and busy and now - member.received_at > limit:
                member.is_slow = True
                member.process.kill()

    def _ask_to_stop(self) -> None:
        for member in self._members:
            if member.process.is_alive() and member.process.pid is not None:
                os.kill(member.process.pid, signal.SIGTERM)


def _serve(order: _Order, pipe: Connection) -> None:
    """A worker process: does shards, and reports to its parent until that is gone."""
    parent = os.getppid()
    with stop_on_signals() as stop:

        def orphaned_or_stopped() -> bool:
            return stop() or os.getppid() != parent

        def tell(message: object) -> None:
            try:
                pipe.send(message)
            except OSError:
                stop.ask()

        try:
            annotator = _prove(order, tell) if order.prove else order.annotator
            work(
                open_folder(order.url),
                annotator,
                reading=order.reading,
                report=tell,
                stop=orphaned_or_stopped,
                part=order.part,
                number=order.number,
                retry=order.retry,
                wait=order.wait,
            )
        except BrokenWorker as error:
            # A death like any other: the image in hand is to blame, another process goes on.
            tell(error)
            pipe.close()
            os._exit(1)
        except SaEngineError as error:
            tell(error)
        except KeyboardInterrupt:
            tell(InterruptedRun("the same command continues where it stopped"))
        except Exception as error:
            # What cannot be sent as it is, is sent as words.
            tell(SaEngineError(f"a worker failed: {type(error).__name__}: {error}"))
        else:
            tell(None)


def _prove(order: _Order, tell: Callable[[object], None]) -> Annotator:
    """Annotate an empty picture. What kills here is too little memory, and no image's fault."""
    annotate = order.annotator.open(order.number)
    nothing = np.zeros((PROOF_SIDE, PROOF_SIDE, 3), np.uint8)
    with suppress(Exception):
        # Annotators that look up the picture do not know this one.
        annotate(Source("", ""), StoredImage(nothing, b"", "png"))
    tell(_Proved())
    return _Opened(annotate)


@contextmanager
def _threads_in_environment(threads: int) -> Iterator[None]:
    """Divide the processor among the workers: a child reads this as it loads its libraries.

    What the user has set stays.
    """
    mine = {name: str(threads) for name in THREAD_VARIABLES if name not in os.environ}
    os.environ.update(mine)
    try:
        yield
    finally:
        for name in mine:
            del os.environ[name]


def _advice(member: _Member) -> str:
    main = sys.modules["__main__"]
    if member.process.exitcode == 1 and not member.has_spoken and main.__spec__ is None:
        # A worker imports the script that started it, and met the same call there.
        return (
            "they could not even begin; in a script of your own the call belongs under "
            'if __name__ == "__main__":, since workers import that script'
        )
    return "give them more memory or fewer --workers, and run the same command again"


def _cause(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        return f"by {signal.Signals(-exit_code).name}"
    return f"with exit status {exit_code}"
