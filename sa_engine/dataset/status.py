"""How far a dataset is: what is done, what failed, who works on what, how long it will take."""

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from sa_engine.dataset.folder.base import open_folder
from sa_engine.dataset.manifest import Manifest, read_manifest
from sa_engine.dataset.reader import Dataset
from sa_engine.dataset.records import ImageStatus
from sa_engine.dataset.shards.claims import Holder, holders
from sa_engine.dataset.shards.stats import failure_reason
from sa_engine.dataset.shards.writer import journaled


@dataclass(frozen=True, slots=True, kw_only=True)
class Working:
    """A worker that is alive: its claim, and how many images of its shard are done."""

    holder: Holder
    num_done: int
    num_images: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetStatus:
    """How far a dataset is.

    num_complete: complete shards.
    num_done: images done or failed, of complete shards and of those in the making.
    num_masks: masks of complete shards.
    num_failed: failed images by reason.
    working: the workers that are alive.
    images_per_s: of all living workers together, by the images of their shards; None if there is
        nobody, or nothing to go by.
    """

    manifest: Manifest
    num_complete: int
    num_done: int
    num_masks: int
    num_failed: Mapping[str, int]
    working: tuple[Working, ...]
    images_per_s: float | None

    @property
    def is_complete(self) -> bool:
        """Whether every shard is."""
        return self.num_complete == self.manifest.num_shards

    @property
    def seconds_left(self) -> float | None:
        """At the present rate; None if there is none."""
        if not self.images_per_s:
            return None
        return (self.manifest.num_images - self.num_done) / self.images_per_s


@dataclass(frozen=True, slots=True)
class FailedImage:
    """An image that failed, as its row or its journal line has it."""

    image_id: int
    source: str
    error: str


def read_status(path: str | os.PathLike[str]) -> DatasetStatus:
    """Look at a dataset, whether somebody works on it or not. UsageError if there is none."""
    folder = open_folder(path)
    manifest = read_manifest(folder)
    dataset = Dataset(path, allow_incomplete=True)
    failed: Counter[str] = Counter()
    num_masks = 0
    for index in dataset.shard_indices:
        stats = dataset.stats(index)
        num_masks += stats.num_masks
        failed.update(stats.num_failed)
    begun = journaled(path, manifest)
    for entries in begun.values():
        failed.update(
            failure_reason(entry.row["error"])
            for entry in entries
            if entry.row["status"] != ImageStatus.OK
        )
    working = tuple(
        Working(
            holder=holder,
            num_done=len(begun.get(holder.shard_index, ())),
            num_images=len(manifest.image_ids(holder.shard_index)),
        )
        for holder in holders(path)
        if holder.is_alive
    )
    rates = [
        len(done) / max(sum(entry.seconds for entry in done), 1e-9)
        for each in working
        if (done := begun.get(each.holder.shard_index))
    ]
    return DatasetStatus(
        manifest=manifest,
        num_complete=len(dataset.shard_indices),
        num_done=sum(len(manifest.image_ids(index)) for index in dataset.shard_indices)
        + sum(map(len, begun.values())),
        num_masks=num_masks,
        num_failed=dict(sorted(failed.items())),
        working=working,
        # Those that have not finished an image yet are taken to be as fast as the others.
        images_per_s=sum(rates) / len(rates) * len(working) if rates else None,
    )


def failed_images(path: str | os.PathLike[str], *, limit: int) -> list[FailedImage]:
    """The first `limit` images that failed, in order of their ids."""
    dataset = Dataset(path, allow_incomplete=True)
    found = [
        FailedImage(entry.row["image_id"], entry.row["source"], entry.row["error"])
        for entries in journaled(path, dataset.manifest).values()
        for entry in entries
        if entry.row["status"] != ImageStatus.OK
    ]
    for index in dataset.shard_indices:
        if sum(dataset.stats(index).num_failed.values()):
            found += [
                FailedImage(record.image_id, record.source, record.error or "")
                for record in dataset.shard_images(index, status=ImageStatus.FAILED)
            ]
        if len(found) > limit:
            break
    return sorted(found, key=lambda failure: failure.image_id)[:limit]
