"""What is left of a damaged shard, and what can be had from it without making masks again.

Proof is a digest that the shard's stats hold. Of stats that are damaged themselves, every digest
that still stands in them is proof of the file that has it: no damage makes one up.
"""

import contextlib
import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sa_engine.dataset.folder.base import Folder
from sa_engine.dataset.image_fields import attributes_of_text
from sa_engine.dataset.images.reading import StoredImage
from sa_engine.dataset.manifest import Manifest
from sa_engine.dataset.records import ImageRecord, ImageStatus
from sa_engine.dataset.shards import rows, sa1b_json, tar
from sa_engine.dataset.shards.finished import file_sum
from sa_engine.dataset.shards.stats import (
    ShardStats,
    parquet_name,
    read_stats,
    stats_name,
    tar_name,
)
from sa_engine.dataset.sources.frozen import FrozenInputs
from sa_engine.dataset.sources.source_list import Source
from sa_engine.errors import DamagedError, Irreparable

_DIGEST = re.compile(rb'"sha256": "([0-9a-f]{64})"')
_SECONDS = re.compile(rb'"seconds": ([0-9]+\.[0-9]+),')
_UNREADABLE = (OSError, pa.ArrowException, ValueError, KeyError, TypeError, IndexError)


@dataclass(frozen=True, slots=True)
class Reread:
    """A source that was read again.

    sha256: of its bytes; "" if they could not be read.
    image, error: the image, or "reason: message" if there is none.
    """

    sha256: str
    image: StoredImage | None
    error: str | None


class Remains:
    """What is left of a shard.

    reread: reads a source again, by the options that the dataset was made with.
    """

    def __init__(
        self,
        folder: Folder,
        manifest: Manifest,
        shard_index: int,
        reread: Callable[[Source], Reread],
    ) -> None:
        self._folder, self._index, self._reread = folder, shard_index, reread
        self.ids = manifest.image_ids(shard_index)
        self.sources = FrozenInputs(folder).shard(shard_index)
        self._tar = file_sum(folder, tar_name(shard_index))
        self._parquet = file_sum(folder, parquet_name(shard_index))
        self.are_stats_lost = folder.size(stats_name(shard_index)) is None
        raw = b"" if self.are_stats_lost else folder.read(stats_name(shard_index))
        try:
            self.stats: ShardStats | None = read_stats(folder, shard_index)
        except DamagedError:
            self.stats = None
        self._vouched = frozenset(text.decode("ascii") for text in _DIGEST.findall(raw))
        seconds = _SECONDS.search(raw)
        self._seconds = float(seconds[1]) if seconds else 0.0
        # Whether something that was given out is as it lay there, without proof.
        self._on_trust = False
        self._held_rows: dict[int, dict[str, Any]] | None = None
        self._held_members: dict[str, rows.Span] | None = None

    @property
    def is_tar_whole(self) -> bool:
        """Whether the tar is proven to be what was written."""
        return self._tar is not None and self._tar.sha256 in self._vouched

    @property
    def is_parquet_whole(self) -> bool:
        """Whether the rows are proven to be what was written."""
        return self._parquet is not None and self._parquet.sha256 in self._vouched

    @property
    def is_vouched(self) -> bool:
        """Whether anything is left of the stats that could prove a file."""
        return bool(self._vouched)

    @property
    def seconds_each(self) -> float:
        """The time that the stats say was spent, shared out among the images."""
        return self._seconds / len(self.ids)

    def proves(self, made: ShardStats) -> bool:
        """Whether what was made of the remains is what the shard was.

        Each file's digest is one that the stats vouch for, or, if nothing in what was made is on
        trust, that of the file that is there: two that agree and were come by independently.
        """
        pairs = ((made.tar, self._tar), (made.parquet, self._parquet))
        return all(
            new.sha256 in self._vouched or (new == there and not self._on_trust)
            for new, there in pairs
        )

    def equals(self, made: ShardStats) -> bool | None:
        """Whether a shard made again is what the stats vouch for; None if they are lost."""
        if self.stats is None:
            return None
        return (made.tar, made.parquet) == (self.stats.tar, self.stats.parquet)

    def was_ok(self, image_id: int) -> bool | None:
        """Whether an image had gone through; None if nothing is left that says so."""
        if self.is_parquet_whole:
            return bool(self._light_rows()[image_id]["status"] == ImageStatus.OK)
        if self.is_tar_whole:
            return f"sa_{image_id}.json" in self._members()
        if self.stats is not None and not self.stats.num_failed:
            return True
        return None

    def sha256_of(self, image_id: int) -> str | None:
        """The digest of the image's source as it was; None if nothing is left that says so."""
        return self._light_rows()[image_id]["sha256"] if self.is_parquet_whole else None

    def from_rows(self) -> Iterator[tuple[ImageRecord, bytes | None]]:
        """Every image: its record from the rows, its file from the tar or its source.

        Raises Irreparable if they cannot be had.
        """
        name = parquet_name(self._index)
        self._on_trust = False
        try:
            with self._folder.open(name) as file:
                table = pq.ParquetFile(file)
                found = 0
                for batch in table.iter_batches(batch_size=16):
                    for row in batch.to_pylist():
                        if row["image_id"] != self.ids[found]:
                            raise Irreparable(f"{name} has other images")
                        source = self.sources[found]
                        found += 1
                        self._check_row(row, source)
                        yield rows.from_row(row), self._image(row, source)
            if found != len(self.ids):
                raise Irreparable(f"{name} lacks images")
        except _UNREADABLE as error:
            raise Irreparable(f"{name} cannot be read: {error}") from error

    def from_tar(self, *, trust_rows: bool) -> Iterator[tuple[ImageRecord, bytes | None]]:
        """Every image: its record from its JSON in the tar, the rest from the list and its source.

        trust_rows: take what the JSON does not say from rows that may be damaged.

        Raises Irreparable if they cannot be had.
        """
        self._on_trust = trust_rows
        try:
            members = self._members()
            kept = self._light_rows() if trust_rows else {}
            for image_id, source in zip(self.ids, self.sources, strict=True):
                row = kept.get(image_id)
                text = members.get(f"sa_{image_id}.json")
                if text is None:
                    yield self._failure(image_id, source, row), None
                    continue
                data = self._read(text)
                head = sa1b_json.decode_image(data)
                image = members.get(head["file_name"])
                stored = None if image is None else self._read(image)
                yield (
                    ImageRecord(
                        image_id=image_id,
                        file_name=head["file_name"],
                        source=source.name,
                        width=head["width"],
                        height=head["height"],
                        sha256=row["sha256"] if row else self._source_digest(source, stored),
                        annotations=sa1b_json.decode_annotations(data),
                        attributes=attributes_of_text(row["attributes"]) if row else {},
                    ),
                    stored,
                )
        except _UNREADABLE as error:
            raise Irreparable(f"{tar_name(self._index)} cannot be read: {error}") from error

    def _check_row(self, row: Mapping[str, Any], source: Source) -> None:
        """What rows that nothing vouches for say of an image must be so."""
        if self.is_parquet_whole:
            return
        if row["source"] != source.name:
            raise Irreparable(f"image {row['image_id']} is of another source")
        if row["status"] != ImageStatus.OK:
            # Why an image failed that is gone today is taken from the rows: nobody else knows.
            error = self._reread(source).error or ""
            is_gone = error.partition(":")[0] in ("missing", "unreadable")
            self._on_trust |= not is_gone and error != row["error"]

    def _image(self, row: Mapping[str, Any], source: Source) -> bytes | None:
        """An image's file.

        What is neither proven nor to be had again is taken as it lies there, if the stats can tell
        in the end whether it was right.
        """
        span = rows.image_span(row)
        if span is None:
            return None
        stored = b"" if self._tar is None else self._read(span)
        if self.is_tar_whole or hashlib.sha256(stored).hexdigest() == row["sha256"]:
            return stored
        again = self._reread(source)
        if again.image is not None and again.sha256 == row["sha256"]:
            return again.image.data
        if self.is_vouched and len(stored) == span.size:
            self._on_trust = True
            return stored
        raise Irreparable(f"image {row['image_id']} ({source.name}): {_why_not(again)}")

    def _failure(self, image_id: int, source: Source, row: Mapping[str, Any] | None) -> ImageRecord:
        error, sha256 = (row["error"], row["sha256"]) if row else ("", "")
        if row is None:
            again = self._reread(source)
            error, sha256 = again.error or "", again.sha256
        if not error:
            raise Irreparable(f"image {image_id} ({source.name}) had failed, nothing says why")
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

    def _source_digest(self, source: Source, stored: bytes | None) -> str:
        again = self._reread(source)
        if again.sha256 or stored is None:
            return again.sha256
        return hashlib.sha256(stored).hexdigest()

    def _light_rows(self) -> dict[int, dict[str, Any]]:
        """The rows that can be read, without their masks, by image id."""
        if self._held_rows is None:
            names = {id_: source.name for id_, source in zip(self.ids, self.sources, strict=True)}
            self._held_rows = {
                row["image_id"]: row
                for row in _readable_rows(self._folder, parquet_name(self._index))
                if names.get(row["image_id"]) == row["source"]
            }
        return self._held_rows

    def _members(self) -> dict[str, rows.Span]:
        """Where each file lies in the tar."""
        if self._held_members is None:
            with self._folder.open(tar_name(self._index)) as file:
                self._held_members = {
                    each.name: rows.Span(each.offset, each.size) for each in tar.members(file)
                }
        return self._held_members

    def _read(self, span: rows.Span) -> bytes:
        return self._folder.read_range(tar_name(self._index), span.offset, span.size)


def _readable_rows(folder: Folder, name: str) -> list[dict[str, Any]]:
    """The rows, without masks, of those groups of a Parquet file that can be read."""
    found: list[dict[str, Any]] = []
    try:
        with folder.open(name) as file:
            table = pq.ParquetFile(file)
            for group in range(table.num_row_groups):
                with contextlib.suppress(*_UNREADABLE):
                    found += table.read_row_group(group, rows.LIGHT_COLUMNS).to_pylist()
    except _UNREADABLE:
        return found
    return found


def _why_not(again: Reread) -> str:
    if again.error is not None:
        return f"its file is damaged, and its source cannot be read: {again.error}"
    return "its file is damaged, and its source is not the one that it was made from any more"
