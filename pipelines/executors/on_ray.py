"""Workers as Ray tasks: any shard for any task, so that none waits for a place that is gone.

The dataset is the queue; Ray only keeps the workers alive. Each task runs a team of one, so that an
image that kills its process is blamed as it is on one machine.
"""

import platform
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sa_engine.dataset.folder.base import Folder, open_folder
from sa_engine.dataset.manifest import MANIFEST_NAME, read_manifest
from sa_engine.dataset.shards.writer import pending_shards
from sa_engine.errors import InterruptedRun, SaEngineError, UsageError
from sa_engine.pipelines.run.events import ImageDone
from sa_engine.pipelines.run.one_image import Annotator, Reading
from sa_engine.pipelines.run.signals import StopRequest, stop_on_signals
from sa_engine.pipelines.run.start import run_workers
from sa_engine.pipelines.run.team import MAX_DEATHS
from sa_engine.pipelines.run.watch import Progress, RunSummary, Watch
from sa_engine.pipelines.run.workers import Workers
from sa_engine.version import __version__

TELL_EVERY_S = 1.0
PLACED_WITHIN_S = 60.0
"""Seconds without any task at work after which it is said what is asked for and what is there."""

AGAIN_AFTER_S = 10.0
"""Seconds after a task has found nothing free in which no other one is started."""

LOOK_EVERY_S = 15.0
"""Seconds between looks at what is left, which an object store is asked for."""

CANCELLED_WITHIN_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RayExecutor:
    """Runs a stage on a Ray cluster; called as `pipelines.run.start.run_workers` is.

    address: of the cluster, "auto" for the one that this machine belongs to; None for one of this
        machine alone, which ends with the run.
    gpus, cpus: of each worker; gpus may be a fraction.
    note: is told what people should know.
    """

    address: str | None = "auto"
    gpus: float = 0
    cpus: float = 1
    note: Callable[[str], None] = field(default=lambda _: None)

    def __call__(
        self,
        folder: Folder,
        annotator: Annotator,
        *,
        reading: Reading,
        workers: Workers,
        progress: Progress | None = None,
    ) -> RunSummary:
        """Do the work, see the module. Raises as `run_workers`; UsageError without Ray."""
        if workers.retry_failed or workers.repair:
            raise UsageError(
                "--retry-failed and --repair are not for --executor ray: give them to a run on one "
                "machine"
            )
        ray = _import_ray()
        _connect(ray, self.address)
        try:
            with stop_on_signals() as stop:
                driver = _Driver(ray, self, folder, annotator, reading, workers, progress)
                driver.run(stop)
                return driver.watch.summary()
        finally:
            ray.shutdown()


class _Driver:
    """Starts tasks, receives what they say, and starts others in place of those that are lost."""

    def __init__(
        self,
        ray: Any,
        options: RayExecutor,
        folder: Folder,
        annotator: Annotator,
        reading: Reading,
        workers: Workers,
        progress: Progress | None,
    ) -> None:
        self.watch = Watch(folder, workers, progress)
        self._ray, self._options, self._folder = ray, options, folder
        self._workers, self._progress = workers, progress
        self._manifest = read_manifest(folder)
        self._board = _start_board(ray)
        self._share = (
            folder.url,
            folder.read(MANIFEST_NAME),
            __version__,
            annotator,
            reading,
            workers.part,
            workers.image_seconds,
        )
        self._task = ray.remote(_share_of_the_work)
        self._running: list[Any] = []
        self._started = 0
        self._deaths = 0
        self._not_before = 0.0

    def run(self, stop: StopRequest) -> None:
        """Until the part is complete. Raises InterruptedRun once `stop` says so."""
        begun = looked = time.monotonic()
        heard = is_said = False
        left = self._left()
        try:
            while left:
                if stop():
                    raise InterruptedRun("the same command continues where it stopped")
                if time.monotonic() >= self._not_before:
                    while len(self._running) < min(self._workers.count, left):
                        self._start()
                done = self._wait()
                heard |= self._receive()
                for task in done:
                    self._reap(task)
                now = time.monotonic()
                if done or now - looked > LOOK_EVERY_S:
                    left, looked = self._left(), now
                if not heard and not is_said and now - begun > PLACED_WITHIN_S:
                    is_said = True
                    self._say_what_is_there()
        finally:
            self._cancel()
        self._receive()

    def _left(self) -> int:
        pending = pending_shards(self._folder.url, self._manifest)
        return sum(index in self._workers.part for index in pending)

    def _wait(self) -> list[Any]:
        """The tasks that ended within a moment."""
        if not self._running:
            time.sleep(TELL_EVERY_S)
            return []
        done, self._running = self._ray.wait(self._running, timeout=TELL_EVERY_S)
        return list(done)

    def _start(self) -> None:
        self._started += 1
        options = self._task.options(
            num_cpus=self._options.cpus,
            num_gpus=self._options.gpus,
            max_retries=0,  # they are counted here
            scheduling_strategy="SPREAD",
            name=f"sa-engine-work-{self._started}",
        )
        self._running.append(options.remote(self._board, *self._share))

    def _receive(self) -> bool:
        """Whether anything was said on the board since it was last read."""
        said = self._ray.get(self._board.take.remote())
        for each in said:
            if isinstance(each, ImageDone):
                self._deaths = 0
                self.watch.see(each)
            elif isinstance(each, int) and self._progress is not None:
                self._progress.resume(each)
        return bool(said)

    def _reap(self, task: Any) -> None:
        """A task has ended: with its work done, with an error that is the run's, or by dying."""
        try:
            self._ray.get(task)
        except self._ray.exceptions.RayTaskError as error:
            cause = error.cause
            if isinstance(cause, SaEngineError) and not isinstance(cause, InterruptedRun):
                raise cause from None
            self._count_death(cause)
        except self._ray.exceptions.RayError as error:
            self._count_death(error)
        else:
            # Others hold what is left; should one be lost, another task will find it.
            self._not_before = time.monotonic() + AGAIN_AFTER_S

    def _count_death(self, error: Any) -> None:
        self._deaths += 1
        first = next(iter(str(error).splitlines()), "")
        if self._deaths >= MAX_DEATHS:
            raise SaEngineError(
                f"workers were lost {self._deaths} times without finishing an image, the last by "
                f"{type(error).__name__}: {first}: look at Ray's logs, and run the same command "
                "again"
            )
        self._options.note(f"a worker was lost ({type(error).__name__}), another one is started")

    def _say_what_is_there(self) -> None:
        wanted = f"{self._options.cpus:g} CPUs and {self._options.gpus:g} GPUs"
        there = self._ray.available_resources()
        self._options.note(
            f"no worker has a place yet: each asks for {wanted}; free on the cluster are "
            f"{there.get('CPU', 0):g} CPUs and {there.get('GPU', 0):g} GPUs"
        )

    def _cancel(self) -> None:
        """End the tasks that are left: those at work finish their image."""
        for task in self._running:
            self._ray.cancel(task)
        if self._running and self._left():
            self._ray.wait(
                self._running, num_returns=len(self._running), timeout=CANCELLED_WITHIN_S
            )


class _Board:
    """Where tasks tell what they do; an actor on the driver's machine."""

    def __init__(self) -> None:
        self._said: list[Any] = []

    def tell(self, said: list[Any]) -> None:
        """Add some."""
        self._said += said

    def take(self) -> list[Any]:
        """What was said since the last call."""
        said, self._said = self._said, []
        return said


class _Teller:
    """A `Progress` that tells the board, once a second."""

    def __init__(self, board: Any) -> None:
        self._board = board
        self._kept: list[Any] = []
        self._told = 0.0

    def begin(self, total: int, done: int) -> None:  # noqa: ARG002 - the driver knows
        """A task has its place."""
        self._say(0)

    def resume(self, done: int) -> None:
        """So many images of a shard were done before."""
        self._say(done)

    def image(self, done: ImageDone) -> None:
        """One more image is done."""
        self._say(done)

    def flush(self) -> None:
        """Tell what was kept."""
        if self._kept:
            self._board.tell.remote(self._kept)
            self._kept, self._told = [], time.monotonic()

    def _say(self, what: Any) -> None:
        self._kept.append(what)
        if time.monotonic() - self._told >= TELL_EVERY_S:
            self.flush()


def _share_of_the_work(
    board: Any,
    url: str,
    manifest: bytes,
    version: str,
    annotator: Annotator,
    reading: Reading,
    part: Any,
    image_seconds: float | None,
) -> None:
    """A task: whatever shard is free, until others have in hand what is left."""
    host = platform.node()
    if version != __version__:
        raise UsageError(
            f"node {host} has sa-engine {__version__}, this machine {version}: install the same"
        )
    if not _sees(url, manifest):
        raise UsageError(f"node {host} does not see {url}: use a shared folder or an object store")
    teller = _Teller(board)
    try:
        run_workers(
            open_folder(url),
            annotator,
            reading=reading,
            workers=Workers(count=1, part=part, wait=False, image_seconds=image_seconds),
            progress=teller,
        )
    finally:
        teller.flush()


def _sees(url: str, manifest: bytes) -> bool:
    try:
        return "://" in url or (Path(url) / MANIFEST_NAME).read_bytes() == manifest
    except OSError:
        return False


def _import_ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise UsageError(
            "--executor ray needs Ray, which is not installed: pip install 'sa-engine[ray]'"
        ) from error
    return ray


def _connect(ray: Any, address: str | None) -> None:
    try:
        ray.init(address=address or "local", log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        first = next(iter(str(error).splitlines()), "")
        raise SaEngineError(
            f"no Ray cluster can be joined ({address}): {first} Start one with `ray start --head`, "
            "name it with --ray-address, or, if it asks for a token, set its RAY_AUTH_TOKEN here"
        ) from error


def _start_board(ray: Any) -> Any:
    here = ray.get_runtime_context().get_node_id()
    strategy = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(here, soft=False)
    return ray.remote(_Board).options(num_cpus=0, scheduling_strategy=strategy).remote()
