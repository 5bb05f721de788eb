"""The work of one worker: claim a shard, take its images in order, annotate, write.

Every stage runs this way. What a stage does to one image is an `Annotator`; all else (reading,
failures, progress within a shard, completion) is in `shard_work`, `one_image` and
`sa_engine.dataset`.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from sa_engine.dataset.folder.base import Folder
from sa_engine.dataset.manifest import Manifest, read_manifest
from sa_engine.dataset.records import ImageStatus
from sa_engine.dataset.shards.claims import claim
from sa_engine.dataset.shards.stats import complete_shards, read_stats, stats_name
from sa_engine.dataset.shards.writer import journaled, pending_shards
from sa_engine.errors import InterruptedRun, LeaseLost
from sa_engine.pipelines.run.events import (
    Event,
    ImageDone,
    ImageStarted,
    Report,
    ShardClosed,
    ShardLost,
    ShardOpened,
    ShardRetried,
)
from sa_engine.pipelines.run.one_image import (
    READ_AHEAD,
    Annotate,
    Annotated,
    Annotator,
    LazyAnnotate,
    Reading,
)
from sa_engine.pipelines.run.shard import ShardWork
from sa_engine.pipelines.run.signals import wait_or_stop

__all__ = [
    "READ_AHEAD",
    "Annotate",
    "Annotated",
    "Annotator",
    "Event",
    "ImageDone",
    "ImageStarted",
    "Part",
    "Reading",
    "Report",
    "Retry",
    "ShardClosed",
    "ShardLost",
    "ShardOpened",
    "ShardRetried",
    "plan_retry",
    "stats_digest",
    "work",
]

WAIT_S = 2.0
"""Seconds between looks at shards that other workers hold."""

MOST_MISSES = 8
"""Shards in a row that others had, after which is looked again what is left: of many workers each
would else ask after all that the others have made."""

Retry = Mapping[int, str | None]
"""The shards with images to try again, each with the digest of its stats when that was planned:
whoever finds others knows that it has been done. None for a shard that was not complete."""


@dataclass(frozen=True, slots=True)
class Part:
    """A worker's share of a dataset's shards: those with index ≡ `index` modulo `count`.

    begin: share of the dataset after which it begins, [0, 1): workers that share everything seldom
        want the same shard if each begins elsewhere.
    """

    index: int = 0
    count: int = 1
    begin: float = 0.0

    def __contains__(self, shard_index: int) -> bool:
        return shard_index % self.count == self.index

    def ordered(self, shards: Iterable[int], num_shards: int) -> list[int]:
        """Shards in the order in which they are done, of `num_shards` in all."""
        first = int(self.begin * num_shards)
        return sorted(shards, key=lambda index: (index < first, index))


def work(
    folder: Folder,
    annotator: Annotator,
    *,
    reading: Reading,
    report: Report,
    stop: Callable[[], bool],
    part: Part | None = None,
    number: int = 0,
    retry: Retry | None = None,
    wait: bool = True,
) -> None:
    """Do shards until none of the part is left, waiting for those that other workers hold.

    number: of the worker on this machine, from 0.
    wait: see `Workers`.
    retry: see `plan_retry`; None tries nothing again.

    Raises InterruptedRun once `stop` says so; everything that was done is kept.
    """
    manifest = read_manifest(folder)
    part = part or Part()
    again = {index: digest for index, digest in (retry or {}).items() if index in part}
    shards = ShardWork(
        folder=folder,
        manifest=manifest,
        annotate=LazyAnnotate(annotator, number),
        reading=reading,
        report=report,
        stop=stop,
    )
    while True:
        pending = {i for i in pending_shards(folder.url, manifest) if i in part}
        again = {i: digest for i, digest in again.items() if i in pending or digest is not None}
        if not pending and not again:
            return
        claimed = False
        left, misses = pending, 0
        for index in part.ordered(pending | again.keys(), manifest.num_shards):
            if stop():
                raise InterruptedRun("the same command continues where it stopped")
            is_pending = index in pending
            if misses == MOST_MISSES:
                left, misses = set(pending_shards(folder.url, manifest)), 0
            if is_pending and index not in left:
                claimed = True
                continue
            if not is_pending and stats_digest(folder, index) != again[index]:
                del again[index]
                claimed = True
                continue
            lease = claim(folder.url, index, redo=not is_pending)
            if lease is None:
                misses += 1
                continue
            claimed, misses = True, 0
            try:
                with lease:
                    if is_pending:
                        shards.make(lease, retry_failed=index in again)
                    elif stats_digest(folder, index) == again[index]:
                        shards.retry(lease)
            except LeaseLost:
                # This worker was frozen for so long that another one counted it as dead.
                report(ShardLost(index))
                continue
            again.pop(index, None)
        if not claimed and not wait:
            return
        if not claimed:
            # Until another worker may have finished a shard, or have died.
            wait_or_stop(stop, WAIT_S)


def plan_retry(folder: Folder, manifest: Manifest) -> dict[int, str | None]:
    """The shards, complete or begun, that hold images that have failed. See `Retry`."""
    plan: dict[int, str | None] = {}
    for index in complete_shards(folder, manifest):
        digest = stats_digest(folder, index)
        stats = read_stats(folder, index)
        if stats is not None and stats.num_ok < stats.num_images:
            plan[index] = digest
    for index, entries in journaled(folder.url, manifest).items():
        if any(entry.row["status"] != ImageStatus.OK for entry in entries):
            plan[index] = None
    return plan


def stats_digest(folder: Folder, shard_index: int) -> str | None:
    """Hex SHA-256 of a shard's stats file; None if it is not complete."""
    try:
        return hashlib.sha256(folder.read(stats_name(shard_index))).hexdigest()
    except FileNotFoundError:
        return None
