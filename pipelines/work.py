"""The work of one worker: claim a shard, take its images in order, annotate, write.

Every stage runs this way. What a stage does to one image is an `Annotator`; all else (reading,
failures, progress within a shard, completion) is here and in `sa_engine.dataset`.
"""

import hashlib
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol

from sa_engine.dataset.frozen import FrozenInputs
from sa_engine.dataset.images import DEFAULT_MAX_PIXELS, StoredImage, read_image
from sa_engine.dataset.inputs import Source, read_source_bytes
from sa_engine.dataset.leases import Lease, claim
from sa_engine.dataset.manifest import Manifest, read_manifest
from sa_engine.dataset.records import ImageRecord, ImageStatus, MaskRecord
from sa_engine.dataset.shards import ShardWriter, pending_shards
from sa_engine.dataset.storage import Folder
from sa_engine.errors import ImageError, InterruptedRun, SaEngineError
from sa_engine.pipelines.blame import MAX_KILLS, forget_blame, read_blame

READ_AHEAD = 4
"""Images that are read and decoded while one is annotated: enough to hide reading, few enough that
memory stays bounded by the largest images."""

WAIT_S = 2.0
"""Seconds between looks at shards that other workers hold."""


@dataclass(frozen=True, slots=True)
class Annotated:
    """What a stage found out about an image: its masks, and JSON values of the image itself."""

    masks: Sequence[MaskRecord]
    attributes: Mapping[str, Any] = field(default_factory=dict)


Annotate = Callable[[Source, StoredImage], Sequence[MaskRecord] | Annotated]


class Annotator(Protocol):
    """What a stage does to an image; plain values, so that it can be sent to another process."""

    def open(self, worker: int) -> Annotate:
        """Load what is needed (a model, an annotation file) and return the function.

        worker: number of the worker on this machine, from 0: with several GPUs, whose turn it is.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How images are read and kept.

    max_pixels: images of more pixels are refused, from 1.
    shortest_side: larger images are downsized to it, pixels; None keeps their size.
    keep_images: store the images; otherwise the shards hold annotations alone.
    """

    max_pixels: int = DEFAULT_MAX_PIXELS
    shortest_side: int | None = None
    keep_images: bool = True


@dataclass(frozen=True, slots=True)
class ShardOpened:
    """A worker took up a shard, of which `num_done` images were done before."""

    shard_index: int
    num_done: int


@dataclass(frozen=True, slots=True)
class ImageStarted:
    """A worker has an image in hand."""

    shard_index: int
    image_id: int


@dataclass(frozen=True, slots=True)
class ImageDone:
    """An image is in its shard. `error` is "reason: message" if it failed."""

    image_id: int
    source: str
    num_masks: int
    error: str | None


@dataclass(frozen=True, slots=True)
class ShardClosed:
    """A shard is complete."""

    shard_index: int


Event = ShardOpened | ImageStarted | ImageDone | ShardClosed
Report = Callable[[Event], None]


@dataclass(frozen=True, slots=True)
class Part:
    """A worker's share of a dataset's shards: those with index ≡ `index` modulo `count`."""

    index: int = 0
    count: int = 1

    def __contains__(self, shard_index: int) -> bool:
        return shard_index % self.count == self.index


def work(
    folder: Folder,
    annotator: Annotator,
    *,
    reading: Reading,
    report: Report,
    stop: Callable[[], bool],
    part: Part | None = None,
    number: int = 0,
) -> None:
    """Do shards until none of the part is left, waiting for those that other workers hold.

    Raises InterruptedRun once `stop` says so; everything that was done is kept.
    """
    manifest = read_manifest(folder)
    part = part or Part()
    annotate: Annotate | None = None
    while mine := [i for i in pending_shards(folder.url, manifest) if i in part]:
        claimed = False
        for shard_index in mine:
            if stop():
                raise InterruptedRun("the same command continues where it stopped")
            lease = claim(folder.url, shard_index)
            if lease is None:
                continue
            claimed = True
            with lease:
                if annotate is None:
                    annotate = annotator.open(number)
                _do_shard(folder, manifest, lease, annotate, reading, report, stop)
        if not claimed:
            _wait(stop)


def _do_shard(
    folder: Folder,
    manifest: Manifest,
    lease: Lease,
    annotate: Annotate,
    reading: Reading,
    report: Report,
    stop: Callable[[], bool],
) -> None:
    index = lease.shard_index
    # Where a worker has died, go carefully: one image at a time, from reading on, so that the next
    # death falls to the image that causes it.
    kills = read_blame(folder, index)
    with ShardWriter(folder.url, index, manifest=manifest, lease=lease) as writer:
        num_done = len(writer.done)
        report(ShardOpened(index, num_done))
        ids = manifest.image_ids(index)[num_done:]
        sources = FrozenInputs(folder).shard(index)[num_done:]
        loading = ((source, None) for source in sources) if kills else _read_ahead(sources, reading)
        for image_id, (source, loaded) in zip(ids, loading, strict=True):
            if stop():
                raise InterruptedRun("the same command continues where it stopped")
            report(ImageStarted(index, image_id))
            started = time.perf_counter()
            if kills.get(image_id, 0) >= MAX_KILLS:
                record, data = _passed_over(image_id, source), None
            else:
                loaded = loaded or _load(source, reading)
                record, data = _annotate(image_id, loaded, annotate, reading)
            writer.add(record, data, seconds=time.perf_counter() - started)
            report(ImageDone(image_id, record.source, len(record.annotations), record.error))
        writer.finish()
    forget_blame(folder, index)
    report(ShardClosed(index))


@dataclass(frozen=True, slots=True)
class _Loaded:
    """A source that was read: its digest, and its image or why there is none."""

    source: Source
    sha256: str
    image: StoredImage | None
    error: ImageError | None


def _load(source: Source, reading: Reading) -> _Loaded:
    sha256 = ""
    try:
        data = read_source_bytes(source)
        sha256 = hashlib.sha256(data).hexdigest()
        image = read_image(data, max_pixels=reading.max_pixels, shortest_side=reading.shortest_side)
    except ImageError as error:
        return _Loaded(source, sha256, None, error)
    return _Loaded(source, sha256, image, None)


def _read_ahead(
    sources: Iterable[Source], reading: Reading
) -> Iterator[tuple[Source, _Loaded | None]]:
    """Read and decode a few images ahead, in order."""
    waiting: deque[tuple[Source, Future[_Loaded]]] = deque()
    pool = ThreadPoolExecutor(max_workers=2, thread_name_prefix="read")
    try:
        for source in sources:
            waiting.append((source, pool.submit(_load, source, reading)))
            if len(waiting) > READ_AHEAD:
                first, future = waiting.popleft()
                yield first, future.result()
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _annotate(
    image_id: int, loaded: _Loaded, annotate: Annotate, reading: Reading
) -> tuple[ImageRecord, bytes | None]:
    """The image's record and the bytes to store; a failure is a record too."""
    source = loaded.source
    if loaded.image is None:
        reason = loaded.error.reason if loaded.error else "unreadable"
        return _failed(image_id, source, f"{reason}: {loaded.error}", loaded.sha256), None
    try:
        found = annotate(source, loaded.image)
        result = found if isinstance(found, Annotated) else Annotated(found)
        annotations = tuple(result.masks)
    except ImageError as error:
        return _failed(image_id, source, f"{error.reason}: {error}", loaded.sha256), None
    except SaEngineError:
        raise
    except Exception as error:  # One image that the engine stumbles over must not end the run.
        height, width = loaded.image.size_hw
        reason = "out-of-memory" if isinstance(error, MemoryError) else "internal"
        what = f"{type(error).__name__}: {error}".rstrip(": ")
        text = f"{reason}: {what} (image of {width}x{height})"
        return _failed(image_id, source, text, loaded.sha256), None
    height, width = loaded.image.size_hw
    record = ImageRecord(
        image_id=image_id,
        file_name=f"sa_{image_id}.{loaded.image.extension}",
        source=source.name,
        width=width,
        height=height,
        sha256=loaded.sha256,
        annotations=annotations,
        attributes=result.attributes,
    )
    return record, loaded.image.data if reading.keep_images else None


def _passed_over(image_id: int, source: Source) -> ImageRecord:
    text = f"killed-worker: {MAX_KILLS} workers died with this image in hand"
    return _failed(image_id, source, text, "")


def _failed(image_id: int, source: Source, error: str, sha256: str) -> ImageRecord:
    return ImageRecord(
        image_id=image_id,
        file_name="",
        source=source.name,
        width=0,
        height=0,
        sha256=sha256,
        status=ImageStatus.FAILED,
        error=error,
    )


def _wait(stop: Callable[[], bool]) -> None:
    """Until another worker may have finished a shard, or have died."""
    until = time.monotonic() + WAIT_S
    while time.monotonic() < until:
        if stop():
            raise InterruptedRun("the same command continues where it stopped")
        time.sleep(0.1)
