"""Damaged shards made again, and only those: from what is left of them, else by their stage.

What is left is tried first, since it needs neither a model nor annotations and its result can be
proven: the stats vouch for every byte. What cannot be had that way is made again by the stage, from
the frozen list and the dataset's own options.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sa_engine.dataset.folder.base import Folder
from sa_engine.dataset.images.reading import DEFAULT_MAX_PIXELS
from sa_engine.dataset.manifest import Manifest
from sa_engine.dataset.records import ImageRecord
from sa_engine.dataset.shards.claims import Lease, claim
from sa_engine.dataset.shards.salvage import Remains, Reread
from sa_engine.dataset.shards.stats import ShardStats, parquet_name, stats_name, tar_name
from sa_engine.dataset.shards.writer import ShardWriter, count_finished
from sa_engine.dataset.sources.source_list import Source
from sa_engine.errors import (
    InterruptedRun,
    Irreparable,
    LeaseLost,
    SaEngineError,
    StageUnavailable,
)
from sa_engine.pipelines.run.one_image import (
    Annotator,
    LazyAnnotate,
    Loaded,
    Made,
    Reading,
    failed,
    load,
    make_image,
    recordable,
)

CIRCUMSTANCES = frozenset({"missing", "unreadable", "out-of-memory", "internal", "refused"})
"""Reasons to fail that tell of the day rather than of the image."""


@dataclass(frozen=True, slots=True)
class Repaired:
    """A shard that is whole again.

    how: in words, what it was made from.
    is_same: whether its bytes are proven to be those that it had; None if nothing is left to tell.
    """

    shard_index: int
    how: str
    is_same: bool | None


@dataclass(frozen=True, slots=True)
class Unrepaired:
    """A shard that stays as it is, and why.

    is_held: another command is at work on it; once that is done, it may be whole.
    """

    shard_index: int
    why: str
    is_held: bool = False


Repair = Repaired | Unrepaired
_NOT_MADE = "it is not made yet: the command that began it continues it"
_HELD = "a running command holds it: repair it once that is done"
OpenAnnotator = Callable[[], Annotator]


def repair_shards(
    folder: Folder,
    manifest: Manifest,
    damaged: Sequence[int],
    *,
    annotator: OpenAnnotator,
    reading: Reading,
    stop: Callable[[], bool],
    progress: Callable[[int, int], None] | None = None,
) -> list[Repair]:
    """Make damaged shards again, in order, whatever becomes of the others.

    damaged: shards that are known to be damaged, see `damaged_shards`.
    annotator: gives the stage, once it is needed; SaEngineError if it cannot be had.
    progress: called with (shards looked at, shards in all).

    A shard that was begun and never completed is no damage: it is left to whoever continues the
    run, unless all its images are there and only its files have to be named. Raises InterruptedRun
    when `stop` says so, and DatasetError if the dataset cannot be written; what was damaged is
    replaced whole or stays.
    """
    work = _Repairs(folder, manifest, annotator, reading, stop)
    done: list[Repair] = []
    for index in damaged:
        done.append(work.repair(index))
        if progress is not None:
            progress(len(done), len(damaged))
    return done


def reading_of(manifest: Manifest) -> Reading:
    """How the images of a dataset were read and kept."""
    options: Mapping[str, Any] = manifest.options
    return Reading(
        max_pixels=options.get("max-pixels", DEFAULT_MAX_PIXELS),
        shortest_side=options.get("shortest-side"),
        keep_images=not options.get("no-images", False),
    )


class _Repairs:
    """Repairs the shards of one dataset."""

    def __init__(
        self,
        folder: Folder,
        manifest: Manifest,
        annotator: OpenAnnotator,
        reading: Reading,
        stop: Callable[[], bool],
    ) -> None:
        self._folder, self._manifest = folder, manifest
        self._open_annotator, self._reading, self._stop = annotator, reading, stop
        self._annotate: LazyAnnotate | None = None

    def repair(self, index: int) -> Repair:
        """Repair one shard."""
        names = set(self._folder.names())
        is_complete = stats_name(index) in names
        is_whole = False
        if not is_complete:
            num_finished = count_finished(self._folder, self._manifest, index)
            is_whole = num_finished == len(self._manifest.image_ids(index))
            is_empty = not names & {tar_name(index), parquet_name(index)}
            if not is_whole and (num_finished or is_empty):
                return Unrepaired(index, _NOT_MADE)
        lease = claim(self._folder.url, index, redo=is_complete)
        if lease is None:
            return Unrepaired(index, _HELD, is_held=True)
        try:
            with lease:
                return self._finish(lease) if is_whole else self._repair_held(lease)
        except LeaseLost:
            return Unrepaired(index, _HELD, is_held=True)

    def _finish(self, lease: Lease) -> Repair:
        """Finish what was cut off when all images were there and its files were being named."""
        with self._writer(lease) as writer:
            if writer.next_image_id is not None:
                return Unrepaired(lease.shard_index, _NOT_MADE)
            writer.finish()
        return Repaired(lease.shard_index, "finished where it was cut off", is_same=None)

    def _repair_held(self, lease: Lease) -> Repair:
        index = lease.shard_index
        remains = Remains(self._folder, self._manifest, index, self._reread)
        for how, images in self._ways(remains):
            try:
                self._write(lease, images, remains)
            except (Irreparable, ValueError, TypeError):
                # The last two: records of a damaged file that cannot be stored.
                continue
            return Repaired(index, how, is_same=True)
        try:
            stats = self._make(lease, remains)
        except (Irreparable, StageUnavailable) as error:
            return Unrepaired(index, str(error))
        return Repaired(index, "made again by its stage", is_same=remains.equals(stats))

    def _ways(
        self, remains: Remains
    ) -> Iterable[tuple[str, Iterable[tuple[ImageRecord, bytes | None]]]]:
        """What to try before anything is made again, in order."""
        if remains.is_tar_whole and remains.is_parquet_whole:
            yield "its stats written again", remains.from_rows()
        elif remains.is_parquet_whole or not remains.is_vouched:
            yield "from its rows and the source images", remains.from_rows()
        if remains.is_tar_whole:
            yield "from its tar", remains.from_tar(trust_rows=True)
            yield "from its tar and the source images", remains.from_tar(trust_rows=False)

    def _write(
        self,
        lease: Lease,
        images: Iterable[tuple[ImageRecord, bytes | None]],
        remains: Remains,
    ) -> None:
        def vet(stats: ShardStats) -> None:
            if not remains.proves(stats):
                raise Irreparable("what was made of its remains is not what it was")

        with self._writer(lease, is_trial=True) as writer:
            try:
                for record, data in images:
                    self._check_stop()
                    writer.add(record, data, seconds=remains.seconds_each)
                writer.finish(vet=vet)
            except (Irreparable, ValueError, TypeError):
                writer.discard()
                raise

    def _make(self, lease: Lease, remains: Remains) -> ShardStats:
        """Make every image of the shard again, or go on where that was cut off."""
        if self._annotate is None:
            try:
                self._annotate = LazyAnnotate(self._open_annotator(), 0)
                self._annotate.open()
            except SaEngineError as error:
                self._annotate = None
                raise StageUnavailable(str(error)) from error
        # Where the stats are lost, what lies there is not to be taken for a shard in the making.
        with self._writer(lease, is_trial=remains.are_stats_lost) as writer:
            while (image_id := writer.next_image_id) is not None:
                self._check_stop()
                started = time.perf_counter()
                loaded = load(remains.sources[image_id - remains.ids[0]], self._reading)
                _check_source(remains, image_id, loaded)
                made = make_image(image_id, loaded, self._annotate, self._reading)
                _check_made(remains, image_id, made)
                seconds = time.perf_counter() - started
                try:
                    writer.add(made.record, made.data, seconds=seconds)
                except Exception as error:
                    text = recordable(error)
                    made = failed(image_id, loaded.source, text, loaded.sha256)
                    _check_made(remains, image_id, made)
                    writer.add(made.record, seconds=seconds)
            return writer.finish()

    def _writer(self, lease: Lease, *, is_trial: bool = False) -> ShardWriter:
        return ShardWriter(
            self._folder.url,
            lease.shard_index,
            manifest=self._manifest,
            lease=lease,
            is_trial=is_trial,
        )

    def _reread(self, source: Source) -> Reread:
        loaded = load(source, self._reading)
        return Reread(loaded.sha256, loaded.image, loaded.error)

    def _check_stop(self) -> None:
        if self._stop():
            raise InterruptedRun("the same command continues where it stopped")


def _check_source(remains: Remains, image_id: int, loaded: Loaded) -> None:
    was = remains.sha256_of(image_id)
    if was and loaded.sha256 and loaded.sha256 != was:
        raise Irreparable(
            f"image {image_id} ({loaded.source.name}) is not the file any more that it was made "
            "from: put that back, and repair again"
        )


def _check_made(remains: Remains, image_id: int, made: Made) -> None:
    """An image that went through must not become a failure by being repaired."""
    error = made.record.error
    if error is None:
        return
    was_ok = remains.was_ok(image_id)
    if was_ok or (was_ok is None and error.partition(":")[0] in CIRCUMSTANCES):
        raise Irreparable(
            f"image {image_id} ({made.record.source}) must be made again and fails now: {error}; "
            "mend that, and repair again"
        )
