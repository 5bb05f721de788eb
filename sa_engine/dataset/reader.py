"""Reading a dataset: in order with bounded memory, or any image by its place."""

import hashlib
import os
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from sa_engine.dataset import image_fields
from sa_engine.dataset.coco_dict import coco_dict
from sa_engine.dataset.folder.base import Folder, explain_read, open_folder
from sa_engine.dataset.folder.sealed import canonical
from sa_engine.dataset.images import reading
from sa_engine.dataset.manifest import Manifest, read_manifest
from sa_engine.dataset.records import ImageRecord, ImageStatus, MaskRecord
from sa_engine.dataset.shards import rows, sa1b_json
from sa_engine.dataset.shards.stats import (
    ShardStats,
    complete_shards,
    parquet_name,
    read_stats,
    tar_name,
)
from sa_engine.dataset.shards.unfinished import unfinished_shards
from sa_engine.dataset.sources.frozen import FrozenInputs
from sa_engine.errors import DamagedError, DatasetError, IncompleteError, UsageError

if TYPE_CHECKING:
    from sa_engine.dataset.torch_samples import TorchDataset

_SHARDS_HELD = 32
_ROWS_AT_ONCE = 16


class Dataset:
    """A dataset on disk, read only. Holds no open files, so it can be forked and pickled.

    path: the dataset's folder.
    allow_incomplete: read as much as there is of a dataset that is still being made, the finished
        images of shards in the making among it; they are those of the moment of opening.
    shard_indices: the complete shards. readable_shards: and those in the making, in order.

    Positions count the rows that can be read from 0, failed images included.

    Raises UsageError if there is no dataset there, IncompleteError if it is incomplete,
    DamagedError if its manifest or a shard's stats are damaged.
    """

    def __init__(self, path: str | os.PathLike[str], *, allow_incomplete: bool = False) -> None:
        self._folder = open_folder(path)
        self.manifest: Manifest = read_manifest(self._folder)
        self.shard_indices: list[int] = complete_shards(self._folder, self.manifest)
        missing = self.manifest.num_shards - len(self.shard_indices)
        if missing and not allow_incomplete:
            raise IncompleteError(
                f"{self._folder.url} is incomplete: {missing} of {self.manifest.num_shards} shards "
                "are missing: run the command that makes it again, which continues"
            )
        self._unfinished = unfinished_shards(self._folder, self.manifest) if missing else {}
        self.readable_shards: list[int] = sorted({*self.shard_indices, *self._unfinished})
        sizes = [
            len(self._unfinished[index].rows)
            if index in self._unfinished
            else len(self.manifest.image_ids(index))
            for index in self.readable_shards
        ]
        self._ends: NDArray[np.int64] = np.cumsum(sizes, dtype=np.int64)
        self._light: OrderedDict[int, list[dict[str, Any]]] = OrderedDict()

    @property
    def folder(self) -> Folder:
        """Where the dataset lies."""
        return self._folder

    @property
    def is_complete(self) -> bool:
        """Whether every shard is there."""
        return len(self.shard_indices) == self.manifest.num_shards

    def __len__(self) -> int:
        """Images that can be read, failures included."""
        return int(self._ends[-1]) if len(self._ends) else 0

    def __getitem__(self, position: int) -> ImageRecord:
        """The record at a position (from 0, or from the end if negative)."""
        if not -len(self) <= position < len(self):
            raise IndexError(f"no image {position} in a dataset of {len(self)}")
        position %= len(self)
        place = int(np.searchsorted(self._ends, position, side="right"))
        start = int(self._ends[place - 1]) if place else 0
        return self._record(self.readable_shards[place], position - start)

    def __iter__(self) -> Iterator[ImageRecord]:
        return self.images()

    def __getitems__(self, positions: Sequence[int]) -> list[ImageRecord]:
        """Several records. A torch `DataLoader` asks so; its batches are lists of records."""
        from sa_engine.dataset.torch_samples import collate_as_list

        collate_as_list()
        return [self[position] for position in positions]

    def to_torch(self) -> "TorchDataset":
        """The images that went through as tensors, for a torch `DataLoader`."""
        from sa_engine.dataset.torch_samples import TorchDataset

        return TorchDataset(self)

    def to_coco(self) -> dict[str, Any]:
        """The whole dataset as a COCO dictionary of images, annotations and categories."""
        return coco_dict(self)

    def record(self, image_id: int) -> ImageRecord:
        """The record of an image id. UsageError if there is none (yet)."""
        index, place = self._place(image_id)
        return self._record(index, place)

    def images(self, *, status: ImageStatus | None = None) -> Iterator[ImageRecord]:
        """All records in order, a few at a time in memory; only those of a status if given."""
        for index in self.readable_shards:
            yield from self.shard_images(index, status=status)

    def shard_images(
        self, shard_index: int, *, status: ImageStatus | None = None
    ) -> Iterator[ImageRecord]:
        """The records of one shard, in order."""
        if shard_index in self._unfinished:
            for place, row in enumerate(self._unfinished[shard_index].rows):
                if status is None or row["status"] == status.value:
                    yield self._record(shard_index, place)
            return
        name = parquet_name(shard_index)
        with explain_read(f"{self._folder.url}/{name}"), self._folder.open(name) as file:
            for batch in pq.ParquetFile(file).iter_batches(batch_size=_ROWS_AT_ONCE):
                for row in batch.to_pylist():
                    if status is None or row["status"] == status.value:
                        yield rows.from_row(row)

    def columns(self, shard_index: int, names: Sequence[str]) -> dict[str, list[Any]]:
        """Some columns of a shard's rows (see `rows.SCHEMA`), without reading the others.

        Of a shard in the making: `rows.LIGHT_COLUMNS` alone.
        """
        if shard_index in self._unfinished:
            begun = self._unfinished[shard_index].rows
            return {name: [row[name] for row in begun] for name in names}
        name = parquet_name(shard_index)
        with explain_read(f"{self._folder.url}/{name}"), self._folder.open(name) as file:
            table = pq.ParquetFile(file).read(columns=list(names))
        return {name: table.column(name).to_pylist() for name in names}

    def iter_masks(self) -> Iterator[tuple[ImageRecord, int, MaskRecord]]:
        """(image, mask id, mask) of every mask, in order."""
        for image in self.images(status=ImageStatus.OK):
            for position, mask in enumerate(image.annotations):
                yield image, image.mask_id(position), mask

    def has_image(self, record: ImageRecord) -> bool:
        """Whether the image's file is stored (it is not if it failed or images were left out)."""
        return rows.image_span(self._light_row(record.image_id)) is not None

    def read_image_bytes(self, record: ImageRecord) -> bytes:
        """The stored file of an image. DatasetError if the dataset holds none for it."""
        span = rows.image_span(self._light_row(record.image_id))
        if span is None:
            raise DatasetError(
                f"{self._folder.url} holds no file for image {record.image_id} ({record.source}): "
                "it failed, or the dataset was made without images"
            )
        return self._read_span(self.manifest.shard_of(record.image_id), span)

    def read_rgb(self, record: ImageRecord) -> NDArray[np.uint8]:
        """The image's pixels, (H, W, 3) uint8, as its masks were made on them."""
        # It was under the limit when it was stored, whatever the limit was then.
        limit = max(1, record.width * record.height)
        return reading.read_rgb(self.read_image_bytes(record), max_pixels=limit, check=False)

    def stats(self, shard_index: int) -> ShardStats:
        """The stats of a complete shard."""
        stats = read_stats(self._folder, shard_index)
        if stats is None:
            raise DatasetError(f"shard {shard_index} of {self._folder.url} is not complete")
        return stats

    def inputs(self) -> FrozenInputs:
        """The frozen input list."""
        return FrozenInputs(self._folder)

    def digest(self) -> str:
        """Hex SHA-256 of the content: equal for equal images, masks, inputs and options.

        Time spent is not part of it.
        """
        digest = hashlib.sha256(canonical(self.manifest.to_json()).encode("ascii"))
        for index in self.shard_indices:
            stats = self.stats(index)
            digest.update(f"\n{index} {stats.tar.sha256} {stats.parquet.sha256}".encode("ascii"))
        return digest.hexdigest()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_light": OrderedDict()}

    def _record(self, shard_index: int, row_index: int) -> ImageRecord:
        # One image's masks come from its JSON in the tar, a read of a few kilobytes; the Parquet
        # file would have to decode a whole row group for them.
        row = self._light_rows(shard_index)[row_index]
        span = rows.json_span(row)
        masks: tuple[MaskRecord, ...] = ()
        if span is not None:
            try:
                masks = sa1b_json.decode_annotations(self._read_span(shard_index, span))
            except (ValueError, KeyError, TypeError) as error:
                raise DamagedError(
                    f"{self._folder.url}/{tar_name(shard_index)}: the JSON of image "
                    f"{row['image_id']} is damaged: verify the dataset"
                ) from error
        return image_fields.from_columns(row, masks)

    def _light_row(self, image_id: int) -> dict[str, Any]:
        index, place = self._place(image_id)
        return self._light_rows(index)[place]

    def _place(self, image_id: int) -> tuple[int, int]:
        """The shard of an image and its row there. UsageError if there is none (yet)."""
        if 1 <= image_id <= self.manifest.num_images:
            index = self.manifest.shard_of(image_id)
            place = image_id - self.manifest.image_ids(index)[0]
            begun = self._unfinished.get(index)
            if (index in self.readable_shards) and (begun is None or place < len(begun.rows)):
                return index, place
            raise UsageError(f"image {image_id} of {self._folder.url} is not finished yet")
        raise UsageError(f"{self._folder.url} has no image {image_id}")

    def _light_rows(self, shard_index: int) -> list[dict[str, Any]]:
        held = self._light.get(shard_index)
        if held is not None:
            self._light.move_to_end(shard_index)
            return held
        columns = self.columns(shard_index, rows.LIGHT_COLUMNS)
        held = [
            dict(zip(columns, values, strict=True))
            for values in zip(*columns.values(), strict=True)
        ]
        self._light[shard_index] = held
        while len(self._light) > _SHARDS_HELD:
            self._light.popitem(last=False)
        return held

    def _read_span(self, shard_index: int, span: rows.Span) -> bytes:
        name = tar_name(shard_index)
        begun = self._unfinished.get(shard_index)
        with explain_read(f"{self._folder.url}/{name}"):
            if begun is not None:
                data = begun.read(self._folder, span.offset, span.size)
            else:
                data = self._folder.read_range(name, span.offset, span.size)
        if len(data) != span.size:
            raise DamagedError(f"{self._folder.url}/{name} is cut short: verify the dataset")
        return data
