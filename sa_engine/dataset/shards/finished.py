"""A complete shard that is made again in part: images are taken over from it byte for byte."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pyarrow.parquet as pq

from sa_engine.dataset.folder.base import Folder, explain_read, sha256_of
from sa_engine.dataset.manifest import Manifest
from sa_engine.dataset.records import ImageStatus
from sa_engine.dataset.shards import rows, tar
from sa_engine.dataset.shards.stats import (
    FileSum,
    ShardStats,
    parquet_name,
    read_stats,
    tar_name,
)
from sa_engine.dataset.shards.writer import ShardWriter
from sa_engine.errors import DamagedError


class FinishedShard:
    """A complete shard, its rows without masks in memory.

    Raises DamagedError if its stats or rows cannot be read or are not those of the shard.
    """

    def __init__(self, folder: Folder, manifest: Manifest, shard_index: int) -> None:
        self._folder, self._index = folder, shard_index
        stats = read_stats(folder, shard_index)
        if stats is None:
            raise DamagedError(f"shard {shard_index} of {folder.url} is not complete any more")
        self.stats = stats
        self._ids = manifest.image_ids(shard_index)
        name = parquet_name(shard_index)
        with explain_read(f"{folder.url}/{name}"), folder.open(name) as file:
            self._rows = pq.ParquetFile(file).read(columns=rows.LIGHT_COLUMNS).to_pylist()
        if [row["image_id"] for row in self._rows] != list(self._ids):
            raise self._damaged(name)
        self._ends = segment_ends(self._rows)
        self._attempts: dict[int, float] = {}

    @property
    def first_image_id(self) -> int:
        """The lowest image id of the shard."""
        return self._ids[0]

    @property
    def failed(self) -> list[int]:
        """Ids of the images that failed, in order."""
        return [row["image_id"] for row in self._rows if row["status"] != ImageStatus.OK]

    def row(self, image_id: int) -> Mapping[str, Any]:
        """An image's row without its masks."""
        found: Mapping[str, Any] = self._rows[image_id - self.first_image_id]
        return found

    def check(self) -> None:
        """Raise DamagedError unless tar and rows are, to the byte, what the stats vouch for.

        What is copied under a new checksum must have been right under the old one.
        """
        pairs = ((tar_name, self.stats.tar), (parquet_name, self.stats.parquet))
        for name_of, wanted in pairs:
            name = name_of(self._index)
            if file_sum(self._folder, name) != wanted:
                raise self._damaged(name)

    def copy(self, image_id: int, writer: ShardWriter) -> None:
        """Add an image to the shard that is being made, as it is in this one."""
        place = image_id - self.first_image_id
        start = self._ends[place - 1] if place else 0
        size = self._ends[place] - start
        data = self._folder.read_range(tar_name(self._index), start, size) if size else b""
        if len(data) != size:
            raise self._damaged(tar_name(self._index))
        seconds = self.stats.seconds / len(self._ids) + self._attempts.get(image_id, 0.0)
        writer.copy(self._rows[place], data, start=start, seconds=seconds)

    def add_seconds(self, image_id: int, seconds: float) -> None:
        """Count the time of an attempt at an image that changed nothing."""
        self._attempts[image_id] = self._attempts.get(image_id, 0.0) + seconds

    def attempted(self) -> ShardStats:
        """The stats with the time of attempts that changed nothing.

        They differ from what they were, however short the attempts: whoever planned the same ones
        sees that they were made.
        """
        seconds = self.stats.seconds + max(0.001, sum(self._attempts.values()))
        return replace(self.stats, seconds=round(seconds, 3))

    def _damaged(self, name: str) -> DamagedError:
        return DamagedError(
            f"{self._folder.url}/{name} is damaged: run `sa-engine verify --repair` on the dataset "
            "first"
        )


def segment_ends(light_rows: list[dict[str, Any]]) -> list[int]:
    """Where in the shard's tar each image's members end, by the rows' offsets."""
    ends: list[int] = []
    end = 0
    for row in light_rows:
        for span in (rows.image_span(row), rows.json_span(row)):
            if span is not None:
                end = max(end, span.offset + span.size + -span.size % tar.BLOCK)
        ends.append(end)
    return ends


def file_sum(folder: Folder, name: str) -> FileSum | None:
    """The length and digest of a file; None if there is none."""
    size = folder.size(name)
    if size is None:
        return None
    with folder.open(name) as file:
        return FileSum(size, sha256_of(file))
