"""A run on one machine, in this process or in worker processes that share an output."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Protocol

from sa_engine.dataset.folder.base import Folder
from sa_engine.dataset.manifest import read_manifest
from sa_engine.dataset.shards.stats import complete_shards
from sa_engine.dataset.verify import damaged_shards, verify
from sa_engine.errors import DamagedError
from sa_engine.pipelines.run.one_image import Annotator, Reading
from sa_engine.pipelines.run.repair import Unrepaired, repair_shards
from sa_engine.pipelines.run.signals import StopRequest, stop_on_signals, wait_or_stop
from sa_engine.pipelines.run.team import Team
from sa_engine.pipelines.run.watch import Progress, RunSummary, Watch
from sa_engine.pipelines.run.worker import WAIT_S, work
from sa_engine.pipelines.run.workers import Workers


class Execute(Protocol):
    """Who does the work of a run: `run_workers` on this machine, or a cluster's engine.

    No one changes a byte of what is made.
    """

    def __call__(
        self,
        folder: Folder,
        annotator: Annotator,
        *,
        reading: Reading,
        workers: Workers,
        progress: Progress | None = None,
    ) -> RunSummary:
        """Do it. Raises as `run_workers`."""
        ...


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
    with stop_on_signals() as stop, _asked_after(workers.max_seconds, stop):
        num_repaired = _repair(folder, annotator, reading, workers, stop)
        watch = Watch(folder, workers, progress)
        work(
            folder,
            annotator,
            reading=reading,
            report=watch.see,
            stop=stop,
            part=workers.part,
            number=workers.first,
            retry=watch.retry(),
            wait=workers.wait,
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
    with stop_on_signals() as stop, _asked_after(workers.max_seconds, stop):
        num_repaired = _repair(folder, annotator, reading, workers, stop)
        watch = Watch(folder, workers, progress)
        team = Team(folder, annotator, reading, workers)
        try:
            team.run(watch, stop)
        finally:
            team.dismiss()
    return replace(watch.summary(), num_repaired=num_repaired)


@contextmanager
def _asked_after(seconds: float | None, stop: StopRequest) -> Iterator[None]:
    """Ask the run to stop once so many seconds have passed, if a number is given."""
    if seconds is None:
        yield
        return
    timer = threading.Timer(seconds, stop.ask)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _repair(
    folder: Folder, annotator: Annotator, reading: Reading, workers: Workers, stop: StopRequest
) -> int:
    """Make the damaged shards of the part again, if that is asked for; how many there were."""
    if not workers.repair:
        return 0
    manifest = read_manifest(folder)
    mine = [index for index in complete_shards(folder, manifest) if index in workers.part]
    problems = verify(folder.url, deep=False, shards=mine)
    for problem in problems:
        if problem.shard_index is None:
            raise DamagedError(f"{folder.url}/{problem}: that cannot be repaired")
    damaged, num_repaired = damaged_shards(problems), 0
    while damaged:
        results = repair_shards(
            folder, manifest, damaged, annotator=lambda: annotator, reading=reading, stop=stop
        )
        for result in results:
            if isinstance(result, Unrepaired) and not result.is_held:
                raise DamagedError(
                    f"shard {result.shard_index} of {folder.url} is damaged and not repaired: "
                    f"{result.why}"
                )
        held = {result.shard_index for result in results if isinstance(result, Unrepaired)}
        num_repaired += len(results) - len(held)
        if held:
            # Another command, started with --repair too, has them in hand.
            wait_or_stop(stop, WAIT_S)
            held.intersection_update(complete_shards(folder, manifest))
        damaged = damaged_shards(verify(folder.url, deep=False, shards=sorted(held)))
    return num_repaired
