"""The frozen input list of a dataset: inputs.parquet, one row group per shard.

Any worker reads its shard's rows alone, so workers agree without talking to each other and however
the listed folder changes meanwhile.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sa_engine.dataset.folder.base import Folder, explain_read, explain_write, sha256_of
from sa_engine.dataset.sources.arrays import bytes_array, int_array
from sa_engine.dataset.sources.source_list import Source, SourceList, label, one_array

INPUTS_NAME = "inputs.parquet"
_ROWS_AT_ONCE = 65536
_ROOT_KEY = b"sa_engine.root"

_SCHEMA = pa.schema(
    [
        ("image_id", pa.int64()),
        ("name", pa.string()),
        # Only where the name is not UTF-8: its bytes.
        ("name_bytes", pa.binary()),
        # Only where it is not the root and the name, joined.
        ("uri", pa.binary()),
        # Only for members of a tar: where their bytes lie in it.
        ("tar_offset", pa.int64()),
        ("tar_size", pa.int64()),
    ]
)


@dataclass(frozen=True, slots=True)
class Frozen:
    """A list that was written: the digest of its content and of its file."""

    sources_sha256: str
    file_sha256: str


def freeze(
    folder: Folder, sources: Sequence[Source], *, images_per_shard: int, begins: Sequence[int] = ()
) -> Frozen:
    """Write the list as inputs.parquet, one row group per shard; the same list, the same bytes.

    begins: positions, from 1, at which a new shard begins because the list has grown there.
    """
    listing = SourceList.of(sources)
    temporary = folder.scratch / f"{INPUTS_NAME}.{os.urandom(8).hex()}.tmp"
    schema = _SCHEMA.with_metadata({_ROOT_KEY: listing.root})
    try:
        with explain_write(temporary):
            with pq.ParquetWriter(
                temporary, schema, compression="zstd", write_statistics=False
            ) as writer:
                rows = images_per_shard * max(1, _ROWS_AT_ONCE // images_per_shard)
                for first, end in pairwise((0, *begins, len(listing))):
                    for start in range(first, end, rows):
                        table = _table(listing[start : min(start + rows, end)], start + 1, schema)
                        writer.write_table(table, row_group_size=images_per_shard)
            with temporary.open("rb+") as file:
                file_sha256 = sha256_of(file)
                os.fsync(file.fileno())
        folder.publish(temporary, INPUTS_NAME)
    finally:
        temporary.unlink(missing_ok=True)
    return Frozen(listing.digest(), file_sha256)


def _table(part: SourceList, first_image_id: int, schema: Any) -> Any:
    count = len(part)
    raw = one_array(part.names)
    try:
        names, name_bytes = raw.cast(pa.large_string()), pa.nulls(count, pa.binary())
    except pa.ArrowInvalid:
        values = raw.to_pylist()
        labels = [label(value) for value in values]
        names = bytes_array([text.encode() for text in labels]).cast(pa.large_string())
        name_bytes = pa.array(
            [v if v != text.encode() else None for v, text in zip(values, labels, strict=True)],
            pa.binary(),
        )
    spans = part.tar_spans or (pa.nulls(count, pa.int64()), pa.nulls(count, pa.int64()))
    uris = pa.nulls(count, pa.binary()) if part.uris is None else part.uris.cast(pa.binary())
    ids = int_array(np.arange(first_image_id, first_image_id + count, dtype=np.int64))
    columns = (ids, names.cast(pa.string()), name_bytes, uris, *spans)
    return pa.table([one_array(column) for column in columns], schema=schema)


class FrozenInputs:
    """The frozen list of a dataset: any shard's sources without reading the others."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._name = f"{folder.url}/{INPUTS_NAME}"
        with explain_read(self._name), folder.open(INPUTS_NAME) as file:
            self._footer = pq.read_metadata(file)
        metadata = self._footer.schema.to_arrow_schema().metadata or {}
        self._root: bytes = metadata.get(_ROOT_KEY, b"")

    def shard(self, shard_index: int) -> SourceList:
        """The sources of a shard, in the order of their image ids."""
        with explain_read(self._name), self._folder.open(INPUTS_NAME) as file:
            table = pq.ParquetFile(file, metadata=self._footer).read_row_group(shard_index)
        return self._listing(table)

    def all(self) -> SourceList:
        """The whole list."""
        with explain_read(self._name), self._folder.open(INPUTS_NAME) as file:
            table = pq.ParquetFile(file, metadata=self._footer).read()
        return self._listing(table)

    def __len__(self) -> int:
        return int(self._footer.num_rows)

    def _listing(self, table: Any) -> SourceList:
        columns = {name: table.column(name) for name in _SCHEMA.names if name != "image_id"}
        names = columns["name"].cast(pa.binary()).cast(pa.large_binary())
        name_bytes = columns["name_bytes"]
        if name_bytes.null_count < len(name_bytes):
            names = pc.coalesce(name_bytes.cast(pa.large_binary()), names)
        uris, offsets = columns["uri"], columns["tar_offset"]
        return SourceList(
            names,
            root=self._root,
            uris=None if uris.null_count == len(uris) else uris.cast(pa.large_binary()),
            tar_spans=None
            if offsets.null_count == len(offsets)
            else (offsets, columns["tar_size"]),
        )
