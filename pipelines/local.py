"""A run on one machine: worker processes that share an output, watched over and restarted.

Workers are processes of their own even when there is one, so that whatever kills one of them (a
decoder's segfault, the kernel's out-of-memory killer) costs one image and not the run.
"""

import multiprocessing
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any, Protocol

from sa_engine.dataset.manifest import Manifest, read_manifest
from sa_engine.dataset.shards import clear_scratch
from sa_engine.dataset.stats import complete_shards, failure_reason, read_stats
from sa_engine.dataset.storage import Folder, open_folder
from sa_engine.dataset.verify import damaged_shards, verify
from sa_engine.errors import DamagedError, InterruptedRun, SaEngineError
from sa_engine.pipelines.blame import KILLED_WORKER, OutOfMemoryKills, blame, is_fault
from sa_engine.pipelines.events import Event, ImageDone, ImageStarted, ShardOpened, ShardRetried
from sa_engine.pipelines.one_image import Annotator, BrokenWorker, Reading
from sa_engine.pipelines.repair import Unrepaired, repair_shards
from sa_engine.pipelines.signals import StopRequest, stop_on_signals
from sa_engine.pipelines.work import Part, Retry, plan_retry, stats_digest, work

MAX_DEATHS = 5
"""Deaths of a worker in a row, with no image finished between them, after which the run stops.

An image that is passed over is not finished: where every image kills, something else is wrong."""

NAMED_FAILURES = 20
"""Failed images that a summary names; the dataset's rows name them all."""

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")

_TICK_S = 0.5


@dataclass(frozen=True, slots=True)
class Failure:
    """An image that failed: its place in the list, its name, "reason: message"."""

    image_id: int
    source: str
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """What a dataset holds after a run.

    num_images: images of the part that was run, done or failed.
    num_masks: masks of the images that went through.
    num_failed: failures by reason.
    failures: the first of those that failed in this run.
    seconds: wall time of this run; num_new is the number of images that it did, those that it tried
        again among them.
    num_retried: images that had failed before and were tried again in this run.
    num_still_failing: of these, how many failed again.
    num_repaired: damaged shards that were made anew before the run.
    """

    out: str
    num_images: int
    num_masks: int
    num_failed: dict[str, int]
    failures: tuple[Failure, ...]
    seconds: float
    num_new: int
    num_retried: int = 0
    num_still_failing: int = 0
    num_repaired: int = 0


class Progress(Protocol):
    """Somebody who wants to see a run go on."""

    def begin(self, total: int, done: int) -> None:
        """There are `total` images, of which `done` are in complete shards and stay as they are."""
        ...

    def resume(self, done: int) -> None:
        """`done` further images turn out to be done already."""
        ...

    def image(self, done: ImageDone) -> None:
        """One more image is done."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Workers:
    """Who does the work.

    count: processes on this machine, from 1. With several GPUs each takes the next one.
    part: which of the shards are theirs.
    max_failures: failed images after which the run stops as plainly wrong; None for no limit.
    retry_failed: try the images again that had failed before the run began.
    repair: first check the bytes of the shards that are complete, and make damaged ones anew.
    """

    count: int = 1
    part: Part = field(default_factory=Part)
    max_failures: int | None = None
    retry_failed: bool = False
    repair: bool = False


def run_here(
    folder: Folder,
    annotator: Annotator,
    *,
    reading: Reading,
    workers: Workers | None = None,
    progress: Progress | None = None,
) -> RunSummary:
    """Do the work in this very process: for stages that are quick, and for use from Python.

    workers: which part, and how; their count is of no meaning here.

    Raises as `run_workers`.
    """
    workers = workers or Workers()
    with stop_on_signals() as stop:
        num_repaired = _repair(folder, annotator, reading, workers, stop)
        watch = _Watch(folder, workers, progress)
        work(
            folder,
            annotator,
            reading=reading,
            report=watch.see,
            stop=stop,
            part=workers.part,
            retry=watch.retry(),
        )
    return replace(watch.summary(), num_repaired=num_repaired)


def run_workers(
    folder: Folder,
    annotator: Annotator,
    *,
    reading: Reading,
    workers: Workers,
    progress: Progress | None = None,
) -> RunSummary:
    """Do the work in processes of their own, and restart those that die.

    Raises InterruptedRun when stopped by a signal, SaEngineError if a worker cannot go on, or if
    more images fail than `max_failures`. All that was done is kept.
    """
    with stop_on_signals() as stop:
        num_repaired = _repair(folder, annotator, reading, workers, stop)
        watch = _Watch(folder, workers, progress)
        team = _Team(folder, annotator, reading, workers)
        try:
            team.run(watch, stop)
        finally:
            team.dismiss()
    return replace(watch.summary(), num_repaired=num_repaired)


def _repair(
    folder: Folder, annotator: Annotator, reading: Reading, workers: Workers, stop: StopRequest
) -> int:
    """Make the damaged shards of the part anew, if that is asked for; how many there were."""
    if not workers.repair:
        return 0
    manifest = read_manifest(folder)
    mine = [index for index in complete_shards(folder, manifest) if index in workers.part]
    problems = verify(folder.url, deep=False, shards=mine)
    for problem in problems:
        if problem.shard_index is None:
            raise DamagedError(f"{folder.url}/{problem}: that cannot be repaired")
    results = repair_shards(
        folder,
        manifest,
        damaged_shards(problems),
        annotator=lambda: annotator,
        reading=reading,
        stop=stop,
    )
    for result in results:
        if isinstance(result, Unrepaired):
            raise DamagedError(
                f"shard {result.shard_index} of {folder.url} is damaged and not repaired: "
                f"{result.why}"
            )
    return len(results)


class _Watch:
    """Sees every event of a run and keeps count."""

    def __init__(self, folder: Folder, workers: Workers, progress: Progress | None) -> None:
        self._folder, self._part, self._progress = folder, workers.part, progress
        self._max_failures = workers.max_failures
        self._started = time.monotonic()
        self._failures: list[Failure] = []
        self._num_new = self._num_failed = 0
        self._num_retried = self._num_still_failing = 0
        manifest = read_manifest(folder)
        self._retry: dict[int, str | None] = {}
        if workers.retry_failed:
            plan = plan_retry(folder, manifest)
            self._retry = {index: digest for index, digest in plan.items() if index in self._part}
        if progress is not None:
            again = sum(
                sum(stats.num_failed.values())
                for index, digest in self._retry.items()
                if digest is not None and (stats := read_stats(folder, index))
            )
            progress.begin(
                sum(len(manifest.image_ids(i)) for i in self._shards(manifest)),
                sum(len(manifest.image_ids(i)) for i in self._complete(manifest)) - again,
            )

    def retry(self) -> Retry:
        """What a worker that starts now is to try again.

        A shard that was completed meanwhile, by a worker that then died, is still to be done.
        """
        for index, digest in self._retry.items():
            if digest is None:
                self._retry[index] = stats_digest(self._folder, index)
        return dict(self._retry)

    def see(self, event: Event) -> None:
        """Count an event. Raises SaEngineError when too many images have failed."""
        if isinstance(event, ShardOpened) and event.num_done and self._progress is not None:
            self._progress.resume(event.num_done)
        if isinstance(event, ShardRetried):
            self._retry.pop(event.shard_index, None)
        if not isinstance(event, ImageDone):
            return
        self._num_new += 1
        self._num_retried += event.is_retry
        self._num_still_failing += event.is_retry and event.error is not None
        if event.error is not None:
            self._num_failed += 1
            if len(self._failures) < NAMED_FAILURES:
                self._failures.append(Failure(event.image_id, event.source, event.error))
        if self._progress is not None:
            self._progress.image(event)
        limit = self._max_failures
        if limit is not None and self._num_failed > limit:
            last = f"{event.source}: {event.error}"
            raise SaEngineError(
                f"{self._num_failed} images failed, --max-failures allows {limit}; the last was "
                f"{last}. Mend the cause and run the same command again"
            )

    def summary(self) -> RunSummary:
        """What the complete shards of the part hold now. Tidies up once the dataset is complete."""
        manifest = read_manifest(self._folder)
        clear_scratch(self._folder.url, manifest)
        failed: Counter[str] = Counter()
        images = masks = 0
        for index in self._complete(manifest):
            stats = read_stats(self._folder, index)
            if stats is not None:
                images += stats.num_images
                masks += stats.num_masks
                failed.update(stats.num_failed)
        return RunSummary(
            out=self._folder.url,
            num_images=images,
            num_masks=masks,
            num_failed=dict(sorted(failed.items())),
            failures=tuple(self._failures),
            seconds=time.monotonic() - self._started,
            num_new=self._num_new,
            num_retried=self._num_retried,
            num_still_failing=self._num_still_failing,
        )

    def _shards(self, manifest: Manifest) -> list[int]:
        return [i for i in range(manifest.num_shards) if i in self._part]

    def _complete(self, manifest: Manifest) -> list[int]:
        return [i for i in complete_shards(self._folder, manifest) if i in self._part]


@dataclass(frozen=True, slots=True)
class _Order:
    """What a worker process is told."""

    url: str
    annotator: Annotator
    reading: Reading
    part: Part
    number: int
    retry: Retry


@dataclass(slots=True)
class _Member:
    """A worker process, the end of its pipe, and what it was last seen with."""

    number: int
    process: SpawnProcess
    pipe: Connection
    in_hand: ImageStarted | None = None
    finished: bool = False
    last_words: str = ""


class _Team:
    """The worker processes of a run."""

    def __init__(
        self, folder: Folder, annotator: Annotator, reading: Reading, workers: Workers
    ) -> None:
        self._folder, self._annotator, self._reading = folder, annotator, reading
        self._workers = workers
        self._context = multiprocessing.get_context("spawn")
        self._members: list[_Member] = []
        self._deaths = 0
        self._oom_kills = OutOfMemoryKills()

    def run(self, watch: _Watch, stop: StopRequest) -> None:
        """Until every worker says that nothing is left."""
        retry = watch.retry()
        self._members = [self._hire(number, retry) for number in range(self._workers.count)]
        asked = False
        while self._members:
            if stop() and not asked:
                asked = True
                self._ask_to_stop()
            for ready in wait([m.pipe for m in self._members], timeout=_TICK_S):
                member = next(m for m in self._members if m.pipe is ready)
                self._hear(member, watch, stopping=asked)
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

    def _hire(self, number: int, retry: Retry) -> _Member:
        ours, theirs = self._context.Pipe(duplex=False)
        order = _Order(
            self._folder.url,
            self._annotator,
            self._reading,
            self._workers.part,
            number,
            retry,
        )
        process = self._context.Process(target=_serve, args=(order, theirs), daemon=True)
        with _threads_in_environment(max(1, (os.cpu_count() or 1) // self._workers.count)):
            process.start()
        theirs.close()
        return _Member(number, process, ours)

    def _hear(self, member: _Member, watch: _Watch, *, stopping: bool) -> None:
        try:
            message: Any = member.pipe.recv()
        except (EOFError, OSError):
            self._bury(member, watch, stopping=stopping)
            return
        if isinstance(message, BrokenWorker):
            member.last_words = f": {message}"
        elif isinstance(message, BaseException):
            member.finished = True
            if not (stopping and isinstance(message, InterruptedRun)):
                raise message
        elif message is None:
            member.finished = True
        else:
            if isinstance(message, ImageStarted):
                member.in_hand = message
            elif isinstance(message, ImageDone):
                if member.in_hand is not None and member.in_hand.image_id == message.image_id:
                    member.in_hand = None
                if failure_reason(message.error) != KILLED_WORKER:
                    self._deaths = 0
            watch.see(message)

    def _bury(self, member: _Member, watch: _Watch, *, stopping: bool) -> None:
        """A worker's pipe has closed: it is done, or dead and to be replaced."""
        member.process.join()
        member.pipe.close()
        self._members.remove(member)
        if member.finished or stopping:
            return
        self._deaths += 1
        if member.in_hand is not None and is_fault(member.process.exitcode, self._oom_kills):
            blame(self._folder, member.in_hand.shard_index, member.in_hand.image_id)
        if self._deaths >= MAX_DEATHS:
            raise SaEngineError(
                f"workers died {self._deaths} times without finishing an image, the last "
                f"{_cause(member.process.exitcode)}{member.last_words}: give them more memory or "
                "fewer --workers, and run the same command again"
            )
        self._members.append(self._hire(member.number, watch.retry()))

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
            work(
                open_folder(order.url),
                order.annotator,
                reading=order.reading,
                report=tell,
                stop=orphaned_or_stopped,
                part=order.part,
                number=order.number,
                retry=order.retry,
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


def _cause(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        return f"by {signal.Signals(-exit_code).name}"
    return f"with exit status {exit_code}"
