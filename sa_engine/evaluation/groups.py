"""Groups of images or masks, from a table that the user gives: countries, incomes, attributes.

Source: "Segment Anything", section 6: images by country, region and income group; people by
perceived presentation. Nothing here is ever guessed from an image.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from sa_engine.dataset.records import ImageRecord
from sa_engine.errors import UsageError

IMAGE_KEYS = ("image_id", "source", "file_name", "source_id")
MASK_KEYS = ("mask_id", "annotation_id")
"""Columns that say which image or mask a row is of: the dataset's own number, the source's path or
its last part, the number that the source gave the image; the same for masks."""

MOST_VALUES = 1000


@dataclass(slots=True)
class Groups:
    """A table of groups.

    columns: names of the columns that divide into groups.
    key: the column by which rows are found, one of IMAGE_KEYS or MASK_KEYS.
    rows: the values of a key by column; empty cells are left out.
    """

    path: Path
    key: str
    columns: tuple[str, ...]
    rows: Mapping[str, Mapping[str, str]]
    _seen: set[str] = field(default_factory=set)

    @property
    def is_of_masks(self) -> bool:
        """Whether its rows are of masks rather than of images."""
        return self.key in MASK_KEYS

    def of(self, record: ImageRecord, position: int | None = None) -> Mapping[str, str]:
        """The groups of an image, or of its mask at a position, by column; empty if unknown."""
        for key in self._keys(record, position):
            if key in self.rows:
                self._seen.add(key)
                return self.rows[key]
        return {}

    def never_met(self) -> list[str]:
        """Keys of the table that no image or mask had so far, sorted."""
        return sorted(self.rows.keys() - self._seen)

    def _keys(self, record: ImageRecord, position: int | None) -> list[str]:
        match self.key:
            case "image_id":
                return [str(record.image_id)]
            case "source" | "file_name":
                name = record.source.replace("\\", "/")
                return [name, name.replace("!", "/").rpartition("/")[2]]
            case "source_id":
                return [str(record.attributes.get("source_id", ""))]
        if position is None:
            return []
        if self.key == "mask_id":
            return [str(record.mask_id(position))]
        return [str(record.annotations[position].attributes.get("source_id", ""))]


def read_groups(path: Path) -> Groups:
    """Read a CSV, TSV or Parquet file.

    Raises UsageError if it cannot be read, has no key column, or no other one.
    """
    table = _read(path)
    names = table.column_names
    keys = [name for name in (*MASK_KEYS, *IMAGE_KEYS) if name in names]
    if not keys:
        known = ", ".join((*IMAGE_KEYS, *MASK_KEYS))
        raise UsageError(
            f"{path} has the columns {', '.join(names) or '(none)'}: one must say which image or "
            f"mask a row is of ({known})"
        )
    key = keys[0]
    columns = tuple(name for name in names if name not in keys)
    if not columns:
        raise UsageError(
            f"{path} has no column but {', '.join(keys)}: add the groups, one a column"
        )
    rows: dict[str, dict[str, str]] = {}
    for row in table.to_pylist():
        if row[key] is None:
            continue
        name = _text(row[key])
        if name in rows:
            raise UsageError(f"{path} has two rows of {key} {name}: keep one")
        rows[name] = {c: _text(row[c]) for c in columns if row[c] is not None and row[c] != ""}
    for column in columns:
        values = {row[column] for row in rows.values() if column in row}
        if len(values) > MOST_VALUES:
            raise UsageError(
                f"{path}: column {column} has {len(values)} values, at most {MOST_VALUES} groups "
                "are possible: leave it out"
            )
    return Groups(path, key, columns, rows)


def _read(path: Path) -> Any:
    if not path.is_file():
        raise UsageError(f"there is no file {path}: give a CSV, TSV or Parquet table")
    try:
        if path.suffix.lower() in (".parquet", ".pq"):
            return pq.read_table(path)
        delimiter = "\t" if path.suffix.lower() in (".tsv", ".tab") else ","
        with path.open("rb") as file:
            head = file.read(1 << 16).split(b"\n", 1)[0].decode("utf-8-sig", "replace")
        names = [name.strip().strip('"') for name in head.split(delimiter)]
        return pa_csv.read_csv(
            path,
            parse_options=pa_csv.ParseOptions(delimiter=delimiter),
            # Numbers stay as they are written: a group "007" is not 7.
            convert_options=pa_csv.ConvertOptions(
                column_types={name: pa.string() for name in names}, strings_can_be_null=True
            ),
        )
    except (pa.ArrowException, OSError) as error:
        raise UsageError(f"{path} cannot be read as a table: {error}") from error


def _text(value: object) -> str:
    return str(value).strip()
