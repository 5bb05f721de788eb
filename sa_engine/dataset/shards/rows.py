"""The rows of a shard's Parquet file: one per image, its masks as a list of structs.

Only plain Parquet types are used, so pyarrow, DuckDB and Hugging Face `datasets` read them as they
are. `attributes` are JSON text, since their keys differ from image to image.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sa_engine.dataset.image_fields import (
    IMAGE_FIELDS,
    attributes_of_text,
    attributes_text,
    from_columns,
    to_columns,
)
from sa_engine.dataset.mask_fields import COLUMNS, from_json
from sa_engine.dataset.records import ImageRecord, MaskRecord

_SPANS = ("image_offset", "image_size", "json_offset", "json_size")
"""Where the image and its JSON lie in the shard's tar; null where they do not."""


def _schema() -> pa.Schema:
    *short, attributes = [(each.name, each.column) for each in IMAGE_FIELDS]
    spans = [(name, pa.int64()) for name in _SPANS]
    return pa.schema([*short, *spans, attributes, ("annotations", pa.list_(COLUMNS))])


SCHEMA = _schema()

LIGHT_COLUMNS = [name for name in SCHEMA.names if name != "annotations"]
"""Everything but the masks: small enough to hold for a whole shard."""


ROWS_PER_GROUP = 64
GROUP_BYTES = 8 << 20
"""A row group of the Parquet file ends at this many rows or bytes of RLE, whichever comes first:
the memory of whoever writes or streams it is bounded, however dense the images."""


@dataclass(frozen=True, slots=True)
class Span:
    """Where a member's bytes lie in a shard's tar: offset and size in bytes."""

    offset: int
    size: int


def to_light_row(
    record: ImageRecord, *, image_span: Span | None, json_span: Span | None
) -> dict[str, Any]:
    """A record's LIGHT_COLUMNS. ValueError if an attribute is no JSON value."""
    spans = [
        value
        for span in (image_span, json_span)
        for value in ((None, None) if span is None else (span.offset, span.size))
    ]
    return to_columns(record) | dict(zip(_SPANS, spans, strict=True))


def to_row(
    light_row: Mapping[str, Any], annotations: Iterable[Mapping[str, Any]]
) -> dict[str, Any]:
    """A row of SCHEMA from its LIGHT_COLUMNS and its masks as SA-1B's JSON has them."""
    return {**light_row, "annotations": [_annotation_row(item) for item in annotations]}


def from_row(row: Mapping[str, Any]) -> ImageRecord:
    """The record of a row of SCHEMA."""
    return from_columns(row, tuple(_mask_from_row(item) for item in row["annotations"]))


def check(row: Mapping[str, Any]) -> None:
    """Raise ValueError or TypeError if a row of SCHEMA holds what its columns cannot."""
    pa.Table.from_pylist([row], schema=SCHEMA)


def image_span(row: Mapping[str, Any]) -> Span | None:
    """Where the row's image lies in the tar."""
    return _span(row["image_offset"], row["image_size"])


def json_span(row: Mapping[str, Any]) -> Span | None:
    """Where the row's JSON lies in the tar."""
    return _span(row["json_offset"], row["json_size"])


def _span(offset: int | None, size: int | None) -> Span | None:
    return None if offset is None or size is None else Span(offset, size)


def _annotation_row(item: Mapping[str, Any]) -> Mapping[str, Any]:
    # Keys that are absent become null.
    attributes = item.get("attributes")
    if attributes is None:
        return {**item, "iscrowd": item.get("iscrowd", False)}
    text = attributes_text(attributes)
    return {**item, "iscrowd": item.get("iscrowd", False), "attributes": text}


def _mask_from_row(row: Mapping[str, Any]) -> MaskRecord:
    return from_json({**row, "attributes": attributes_of_text(row["attributes"])})


def write_rows(path: Path, every: Iterable[Mapping[str, Any]]) -> None:
    """Write a Parquet file of rows of SCHEMA, in groups that do not depend on how they come."""
    with pq.ParquetWriter(path, SCHEMA, compression="zstd") as writer:
        group: list[Mapping[str, Any]] = []
        num_bytes = 0
        for row in every:
            group.append(row)
            num_bytes += sum(len(item["segmentation"]["counts"]) for item in row["annotations"])
            if len(group) == ROWS_PER_GROUP or num_bytes >= GROUP_BYTES:
                writer.write_table(pa.Table.from_pylist(group, schema=SCHEMA))
                group, num_bytes = [], 0
        if group:
            writer.write_table(pa.Table.from_pylist(group, schema=SCHEMA))
