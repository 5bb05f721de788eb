"""What a worker does with one shard that it holds: makes it, or tries again what failed in it."""

import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from functools import partial

from sa_engine.dataset.folder.base import Folder
from sa_engine.dataset.manifest import Manifest
from sa_engine.dataset.shards.claims import Lease
from sa_engine.dataset.shards.finished import FinishedShard
from sa_engine.dataset.shards.writer import ShardWriter
from sa_engine.dataset.sources.frozen import FrozenInputs
from sa_engine.dataset.sources.source_list import Source
from sa_engine.errors import InterruptedRun
from sa_engine.pipelines.run.behind import Behind
from sa_engine.pipelines.run.blame import Blame, forget_blame, read_blame
from sa_engine.pipelines.run.events import (
    Event,
    ImageDone,
    ImageStarted,
    Report,
    ShardClosed,
    ShardOpened,
    ShardRetried,
)
from sa_engine.pipelines.run.one_image import (
    LazyAnnotate,
    Loaded,
    Made,
    Reading,
    failed,
    load,
    load_ahead,
    make_image,
    recordable,
)


@dataclass(frozen=True, slots=True)
class ShardWork:
    """How one worker does shards of a dataset.

    report: is told of every step, one at a time.
    stop: asked before each image; once it says so, InterruptedRun is raised and all is kept.
    """

    folder: Folder
    manifest: Manifest
    annotate: LazyAnnotate
    reading: Reading
    report: Report
    stop: Callable[[], bool]
    _reporting: threading.Lock = field(default_factory=threading.Lock, init=False)

    def make(self, lease: Lease, *, retry_failed: bool = False) -> None:
        """Make a shard, or continue one that was begun.

        An image is written while the next is made, and those after it are read.

        retry_failed: try again the images that had failed before the shard was taken up.
        """
        index = lease.shard_index
        self.annotate.open()
        # Where a worker has died, go carefully: one image at a time, from reading on, so that the
        # next death falls to the image that causes it.
        deaths = read_blame(self.folder, index)
        with self._writer(lease) as writer, Behind("write") as writing:
            num_done, had_failed = len(writer.done), writer.failed
            self._tell(ShardOpened(index, num_done))
            ids = self.manifest.image_ids(index)[num_done:]
            sources = FrozenInputs(self.folder).shard(index)[num_done:]
            loading = (
                ((source, None) for source in sources)
                if deaths
                else load_ahead(sources, self.reading)
            )
            for image_id, (source, loaded) in zip(ids, loading, strict=True):
                started = self._start(index, image_id)
                made = self._make(image_id, source, loaded, deaths)
                seconds = time.perf_counter() - started
                writing.do(partial(self._record, writer, made, source, seconds))
                if deaths:
                    writing.wait()
            writing.wait()
            writer.finish()
        forget_blame(self.folder, index)
        self._tell(ShardClosed(index))
        if retry_failed and had_failed:
            self.retry(lease, only=had_failed)

    def retry(self, lease: Lease, *, only: Collection[int] | None = None) -> None:
        """Try a complete shard's failed images again, and keep all others as they are.

        only: of the failed images, those to try.

        The shard is replaced when it is whole again, and only if a record has changed. A retry that
        was cut off is gone on with. Raises DamagedError if the shard is not what was written.
        """
        index = lease.shard_index
        old = FinishedShard(self.folder, self.manifest, index)
        untried: tuple[int, ...] = ()
        deaths = read_blame(self.folder, index)
        sources = FrozenInputs(self.folder).shard(index)
        with self._writer(lease) as writer:
            if any(old.row(image_id)["status"] == "ok" for image_id in writer.failed):
                # Left by an attempt on an older state of the shard.
                writer.restart()
            is_begun = bool(writer.done)
            if is_begun:
                old.check()
                untried = tuple(i for i in writer.failed if only is None or i in only)
            for image_id in old.failed:
                if image_id in writer.done or (only is not None and image_id not in only):
                    continue
                started = self._start(index, image_id)
                source = sources[image_id - old.first_image_id]
                made = self._make(image_id, source, None, deaths)
                if not is_begun and made.is_failure_of(old.row(image_id)):
                    old.add_seconds(image_id, time.perf_counter() - started)
                else:
                    if not is_begun:
                        old.check()
                        is_begun = True
                    self._copy(old, writer, until=image_id)
                    seconds = time.perf_counter() - started
                    made = self._add(writer, made, source, seconds)
                self._finish_image(made, is_retry=True)
            if is_begun:
                self._copy(old, writer, until=None)
                writer.finish()
            else:
                writer.leave(old.attempted())
        forget_blame(self.folder, index)
        if untried:
            # Tried by the attempt that was cut off, and perhaps mended since.
            self.retry(lease, only=untried)
        else:
            self._tell(ShardRetried(index))

    def _tell(self, event: Event) -> None:
        with self._reporting:
            self.report(event)

    def _writer(self, lease: Lease) -> ShardWriter:
        return ShardWriter(self.folder.url, lease.shard_index, manifest=self.manifest, lease=lease)

    def _start(self, shard_index: int, image_id: int) -> float:
        if self.stop():
            raise InterruptedRun("the same command continues where it stopped")
        self._tell(ImageStarted(shard_index, image_id))
        return time.perf_counter()

    def _make(self, image_id: int, source: Source, loaded: Loaded | None, deaths: Blame) -> Made:
        verdict = deaths.verdict(image_id)
        if verdict is not None:
            return failed(image_id, source, verdict, "")
        return make_image(
            image_id, loaded or load(source, self.reading), self.annotate, self.reading
        )

    def _record(self, writer: ShardWriter, made: Made, source: Source, seconds: float) -> None:
        self._finish_image(self._add(writer, made, source, seconds))

    def _add(self, writer: ShardWriter, made: Made, source: Source, seconds: float) -> Made:
        """Add an image to its shard; one that the shard cannot hold is recorded as failed."""
        try:
            writer.add(made.record, made.data, seconds=seconds)
        except Exception as error:
            text = recordable(error)
            made = failed(made.record.image_id, source, text, made.record.sha256)
            writer.add(made.record, seconds=seconds)
        return made

    def _finish_image(self, made: Made, *, is_retry: bool = False) -> None:
        record = made.record
        self._tell(
            ImageDone(
                record.image_id, record.source, len(record.annotations), record.error, is_retry
            )
        )

    def _copy(self, old: FinishedShard, writer: ShardWriter, *, until: int | None) -> None:
        """Take images over as they are, up to the one that is added next."""
        while (image_id := writer.next_image_id) is not None and image_id != until:
            if self.stop():
                raise InterruptedRun("the same command continues where it stopped")
            old.copy(image_id, writer)
