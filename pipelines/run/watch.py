"""Seeing a run go on: events counted, told to whoever wants to see them, and summed up."""

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from sa_engine.dataset.folder.base import Folder
from sa_engine.dataset.manifest import Manifest, read_manifest
from sa_engine.dataset.shards.stats import complete_shards, read_stats
from sa_engine.dataset.shards.writer import clear_scratch, pending_shards
from sa_engine.errors import SaEngineError
from sa_engine.pipelines.run.events import Event, ImageDone, ShardOpened, ShardRetried
from sa_engine.pipelines.run.worker import Retry, plan_retry, stats_digest
from sa_engine.pipelines.run.workers import Workers

_READERS = 16

NAMED_FAILURES = 20
"""Failed images that a summary names; the dataset's rows name them all."""


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
    num_repaired: damaged shards that were made again before the run.
    num_left: shards of other parts that are not complete.
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
    num_left: int = 0


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


class Watch:
    """Sees every event of a run and keeps count."""

    def __init__(self, folder: Folder, workers: Workers, progress: Progress | None) -> None:
        self._folder, self._part, self._progress = folder, workers.part, progress
        self._max_failures = workers.max_failures
        self._started = time.monotonic()
        self._failures: list[Failure] = []
        self._num_new = self._num_failed = 0
        self._num_retried = self._num_still_failing = 0
        self._manifest = manifest = read_manifest(folder)
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
        manifest = self._manifest
        clear_scratch(self._folder.url, manifest)
        failed: Counter[str] = Counter()
        images = masks = 0
        with ThreadPoolExecutor(_READERS) as pool:
            # An object store takes its time for each of them.
            every = list(pool.map(partial(read_stats, self._folder), self._complete(manifest)))
        for stats in every:
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
            num_left=len(pending_shards(self._folder.url, manifest)),
        )

    def _shards(self, manifest: Manifest) -> list[int]:
        return [i for i in range(manifest.num_shards) if i in self._part]

    def _complete(self, manifest: Manifest) -> list[int]:
        return [i for i in complete_shards(self._folder, manifest) if i in self._part]
