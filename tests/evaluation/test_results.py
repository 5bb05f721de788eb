"""Rows on disk: Parquet, or CSV where the name says so."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from sa_engine.errors import OutputError, UsageError
from sa_engine.evaluation.results import read_rows, write_rows


@dataclass(frozen=True)
class Row:
    name: str
    iou: float


ROWS = [Row("a", 0.5), Row("b", 0.25)]


def test_parquet_and_back(tmp_path: Path) -> None:
    write_rows(tmp_path / "new" / "rows.parquet", ROWS)
    assert read_rows(tmp_path / "new" / "rows.parquet", Row) == ROWS
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["rows.parquet"]


def test_csv(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.csv", ROWS)
    assert (tmp_path / "rows.csv").read_text() == '"name","iou"\n"a",0.5\n"b",0.25\n'


def test_other_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "README.txt").write_text("hello")
    for path in (tmp_path / "README.txt", tmp_path / "none.parquet"):
        with pytest.raises(UsageError, match="is not a table of rows: give a Parquet file"):
            read_rows(path, Row)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        write_rows(tmp_path / "file" / "rows.csv", ROWS)
