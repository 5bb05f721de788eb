"""Per-mask results on disk."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq


def write_rows(path: Path, rows: Sequence[Any]) -> None:
    """Write dataclass records of one kind as Parquet, one column a field; replaces the file whole.

    rows: at least one.
    """
    names = [f.name for f in dataclasses.fields(rows[0])]
    columns = {name: [getattr(row, name) for row in rows] for name in names}
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".partial")
    pq.write_table(pa.table(columns), temporary)
    temporary.replace(path)


def read_rows(path: Path, kind: type) -> list[Any]:
    """Read what `write_rows` wrote, as records of `kind`."""
    return [kind(**row) for row in pq.read_table(path).to_pylist()]
