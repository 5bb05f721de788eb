"""What is known of an image, once: each field's name, its column and what SA-1B's JSON has of it.

The rows of Parquet files, SA-1B's JSON and `ImageRecord` follow from this table: a new field is a
line here and one in the record. Its masks are those of `mask_fields`.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from sa_engine.dataset.folder.sealed import canonical
from sa_engine.dataset.records import ImageRecord, ImageStatus, MaskRecord


def _same(value: Any) -> Any:
    return value


@dataclass(frozen=True, slots=True)
class ImageField:
    """A field of `ImageRecord`.

    name: in the record, and of the column. column: its Arrow type.
    to_column, from_column: its value there.
    """

    name: str
    column: pa.DataType
    to_column: Callable[[Any], Any] = _same
    from_column: Callable[[Any], Any] = _same


def attributes_text(attributes: Mapping[str, Any]) -> str | None:
    """Attributes in a column: text, since their keys differ from one to the next; None for none.

    Raises ValueError if one is no JSON value.
    """
    return canonical(dict(attributes)) if attributes else None


def attributes_of_text(text: str | None) -> Mapping[str, Any]:
    """The attributes that `attributes_text` made this of."""
    return json.loads(text) if text is not None else {}


IMAGE_FIELDS = (
    ImageField("image_id", pa.int64()),
    ImageField("file_name", pa.string()),
    ImageField("source", pa.string()),
    ImageField("width", pa.int32()),
    ImageField("height", pa.int32()),
    ImageField("sha256", pa.string()),
    ImageField("status", pa.string(), lambda status: status.value, ImageStatus),
    ImageField("error", pa.string()),
    ImageField("attributes", pa.string(), attributes_text, attributes_of_text),
)

_JSON_KEYS = ("image_id", "width", "height", "file_name")
"""SA-1B's, in its order."""


def to_columns(record: ImageRecord) -> dict[str, Any]:
    """An image's own columns. Raises ValueError if an attribute is no JSON value."""
    return {each.name: each.to_column(getattr(record, each.name)) for each in IMAGE_FIELDS}


def from_columns(row: Mapping[str, Any], masks: tuple[MaskRecord, ...]) -> ImageRecord:
    """The image that `to_columns` made this of, with its masks."""
    values = {each.name: each.from_column(row[each.name]) for each in IMAGE_FIELDS}
    return ImageRecord(**values, annotations=masks)


def to_json(record: ImageRecord) -> dict[str, Any]:
    """What SA-1B's JSON says of an image."""
    return {key: getattr(record, key) for key in _JSON_KEYS}
