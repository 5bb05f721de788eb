"""Per-mask results on disk."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import csv

from sa_engine.dataset.folder.draft import written_whole
from sa_engine.errors import UsageError


def write_rows(path: Path, rows: Sequence[Any]) -> None:
    """Write dataclass records of one kind, one column a field; replaces the file whole.

    path: its suffix tells the format, .csv or else Parquet. rows: at least one.
    Raises OutputError if the file cannot be written.
    """
    names = [f.name for f in dataclasses.fields(rows[0])]
    columns = {name: [getattr(row, name) for row in rows] for name in names}
    write = csv.write_csv if path.suffix.lower() == ".csv" else pq.write_table
    with written_whole(path) as draft:
        write(pa.table(columns), draft)


def read_rows(path: Path, kind: type) -> list[Any]:
    """Read what `write_rows` wrote as Parquet, as records of `kind`.

    Raises UsageError for another file.
    """
    try:
        return [kind(**row) for row in pq.read_table(path).to_pylist()]
    except (OSError, pa.ArrowException, TypeError) as error:
        raise UsageError(
            f"{path} is not a table of {kind.__name__.lower()}s: give a Parquet file that "
            "`sa-engine evaluate points --out` wrote"
        ) from error
