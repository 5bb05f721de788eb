"""What becomes of one image: read, annotated, and recorded, as done or as failed with a reason.

Whatever goes wrong with one image is that image's failure. What goes wrong with the run is not:
a dataset that cannot be written, an interruption, a device that has failed for good.
"""

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from sa_engine.dataset.images.reading import DEFAULT_MAX_PIXELS, StoredImage, read_image
from sa_engine.dataset.records import ImageRecord, ImageStatus, MaskRecord
from sa_engine.dataset.sources.listing import DEFAULT_MAX_BYTES, Source, read_source_bytes
from sa_engine.errors import (
    AnnotationError,
    BrokenWorker,
    DatasetError,
    ImageError,
    InterruptedRun,
    SaEngineError,
    UsageError,
)

READ_AHEAD = 4
"""Images that are read and decoded while one is annotated: enough to hide reading, few enough that
memory stays bounded by the largest images."""

READING = "reading"
"""Attribute of an image: what was decided or is odd about its pixels, see `StoredImage.notes`."""

BYTES_A_PIXEL = 8
"""Bytes of a file for each pixel that is allowed: four channels of 16 bits, not compressed."""

NOTES_BYTES = 64 << 20
"""Bytes beyond that for a file's metadata and further frames."""

_LONGEST_ERROR = 2000
_NO_MEMORY = ("out of memory", "not enough memory", "can't allocate memory")


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

    @property
    def max_bytes(self) -> int:
        """Largest file that is read: what so many pixels need at 8 bytes each, and its notes."""
        return min(DEFAULT_MAX_BYTES, BYTES_A_PIXEL * self.max_pixels + NOTES_BYTES)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A source that was read.

    sha256: of its bytes; "" if they could not be read.
    image, error: the image, or "reason: message" if there is none.
    """

    source: Source
    sha256: str
    image: StoredImage | None
    error: str | None


@dataclass(frozen=True, slots=True)
class Made:
    """An image as it goes into its shard: the record, and the file to store if it is kept."""

    record: ImageRecord
    data: bytes | None = None

    @property
    def is_ok(self) -> bool:
        """Whether the image went through."""
        return self.record.status is ImageStatus.OK

    def is_failure_of(self, row: Mapping[str, Any]) -> bool:
        """Whether it failed as a row has it: with the same words, on the same bytes."""
        here = self.record.storable()
        names = ("image_id", "source", "sha256", "error")
        return not self.is_ok and all(getattr(here, name) == row[name] for name in names)


class LazyAnnotate:
    """Opens an annotator when the first image needs it: one that is never needed loads no model."""

    def __init__(self, annotator: Annotator, number: int) -> None:
        self._annotator, self._number = annotator, number
        self._annotate: Annotate | None = None

    def open(self) -> Annotate:
        """The function. Raises what the annotator raises if it cannot be opened."""
        if self._annotate is None:
            self._annotate = self._annotator.open(self._number)
        return self._annotate


def load(source: Source, reading: Reading) -> Loaded:
    """Read and decode a source; whatever goes wrong with it stands in the result.

    Raises DatasetError or UsageError where it is no fault of the image: a store that cannot be
    reached, or that does not know the credentials any more.
    """
    sha256 = ""
    try:
        data = read_source_bytes(source, max_bytes=reading.max_bytes)
    except (DatasetError, UsageError):
        raise
    except Exception as error:
        return Loaded(source, sha256, None, _explain(error))
    try:
        sha256 = hashlib.sha256(data).hexdigest()
        image = read_image(data, max_pixels=reading.max_pixels, shortest_side=reading.shortest_side)
    except Exception as error:
        return Loaded(source, sha256, None, _explain(error))
    return Loaded(source, sha256, replace(image, sha256=sha256), None)


def load_ahead(sources: Iterable[Source], reading: Reading) -> Iterator[tuple[Source, Loaded]]:
    """Read and decode a few images ahead, in order."""
    waiting: deque[tuple[Source, Future[Loaded]]] = deque()
    pool = ThreadPoolExecutor(max_workers=2, thread_name_prefix="read")
    try:
        for source in sources:
            waiting.append((source, pool.submit(load, source, reading)))
            if len(waiting) > READ_AHEAD:
                first, future = waiting.popleft()
                yield first, future.result()
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def make_image(image_id: int, loaded: Loaded, annotate: LazyAnnotate, reading: Reading) -> Made:
    """The image's record and the bytes to store; a failure is a record too.

    Raises DatasetError, InterruptedRun or BrokenWorker: what ends a run; and whatever the annotator
    raises when it is opened.
    """
    if loaded.image is None:
        return failed(image_id, loaded.source, loaded.error or "unreadable: unknown", loaded.sha256)
    function = annotate.open()
    height, width = loaded.image.size_hw
    try:
        found = function(loaded.source, loaded.image)
        result = found if isinstance(found, Annotated) else Annotated(found)
        record = ImageRecord(
            image_id=image_id,
            file_name=f"sa_{image_id}.{loaded.image.extension}",
            source=loaded.source.name,
            width=width,
            height=height,
            sha256=loaded.sha256,
            annotations=tuple(result.masks),
            attributes=_with_notes(result.attributes, loaded.image),
        )
    except Exception as error:
        text = recordable(error, f" (image of {width}x{height})")
        return failed(image_id, loaded.source, text, loaded.sha256)
    return Made(record, loaded.image.data if reading.keep_images else None)


def _with_notes(attributes: Mapping[str, Any], image: StoredImage) -> Mapping[str, Any]:
    """An image's attributes with what is odd about its pixels under "reading", if anything is."""
    return {**attributes, READING: dict(image.notes)} if image.notes else attributes


def recordable(error: Exception, where: str = "") -> str:
    """An error as the "reason: message" of one image. Raises it again if it is the run's.

    where: said after the message of an error that was not raised for people to read.
    """
    if isinstance(error, DatasetError | InterruptedRun | BrokenWorker):
        raise error
    if type(error).__name__ == "AcceleratorError" or "CUDA error" in str(error):
        # Every later call of this process would fail too, whatever the image.
        raise BrokenWorker(f"the accelerator failed: {_first_line(error)}") from error
    text = _explain(error)
    return text if isinstance(error, SaEngineError) else text + where


def failed(image_id: int, source: Source, error: str, sha256: str) -> Made:
    """The record of an image that did not go through, for `error`, which is "reason: message"."""
    return Made(
        ImageRecord(
            image_id=image_id,
            file_name="",
            source=source.name,
            width=0,
            height=0,
            sha256=sha256,
            status=ImageStatus.FAILED,
            error=error,
        )
    )


def _explain(error: Exception) -> str:
    """ "reason: message" of an error."""
    if isinstance(error, ImageError):
        text = f"{error.reason}: {error}"
    elif isinstance(error, AnnotationError):
        text = f"annotations: {error}"
    elif isinstance(error, SaEngineError):
        text = f"refused: {error}"
    elif isinstance(error, MemoryError) or any(word in str(error) for word in _NO_MEMORY):
        text = f"out-of-memory: {_first_line(error)}"
    else:
        text = f"internal: {_first_line(error)}"
    return text[:_LONGEST_ERROR]


def _first_line(error: Exception) -> str:
    message = next(iter(str(error).splitlines()), "")
    return f"{type(error).__name__}: {message}".rstrip(": ")
