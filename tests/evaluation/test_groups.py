"""A table of groups is found by number, name or the source's own number; nothing is guessed."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sa_engine.dataset.records import ImageRecord
from sa_engine.errors import UsageError
from sa_engine.evaluation.groups import read_groups
from tests.support.written import mask_record

MASK = mask_record(np.ones((2, 2), dtype=bool), attributes={"source_id": 77})
RECORD = ImageRecord(
    image_id=3,
    file_name="sa_3.jpg",
    source="kenya/street.jpg",
    width=2,
    height=2,
    sha256="",
    annotations=(MASK,),
    attributes={"source_id": 500},
)


def table(tmp_path: Path, text: str, name: str = "groups.csv") -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "key", ["image_id,3", "source,kenya/street.jpg", "file_name,street.jpg", "source_id,500"]
)
def test_an_image_is_found(tmp_path: Path, key: str) -> None:
    name, value = key.split(",")
    groups = read_groups(table(tmp_path, f"{name},country,code\n{value},Kenya,007\n9999,Peru,\n"))
    assert groups.columns == ("country", "code")
    assert groups.of(RECORD) == {"country": "Kenya", "code": "007"}
    assert groups.never_met() == ["9999"]


@pytest.mark.parametrize("key", ["mask_id,3000001", "annotation_id,77"])
def test_a_mask_is_found(tmp_path: Path, key: str) -> None:
    name, value = key.split(",")
    groups = read_groups(table(tmp_path, f"{name}\tage\n{value}\tolder\n", "groups.tsv"))
    assert groups.is_of_masks
    assert groups.of(RECORD, 0) == {"age": "older"}
    assert groups.of(RECORD) == {}


def test_parquet(tmp_path: Path) -> None:
    path = tmp_path / "groups.parquet"
    pq.write_table(pa.table({"image_id": [3, 4], "region": ["Africa", None]}), path)
    assert read_groups(path).of(RECORD) == {"region": "Africa"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,country\na,b\n", "one must say which image"),
        ("image_id\n1\n", "no column but image_id"),
        ("image_id,c\n1,x\n1,y\n", "two rows of image_id 1"),
        ("image_id,c\n1,x,z\n", "cannot be read as a table"),
        ("", "cannot be read as a table"),
    ],
)
def test_tables_that_cannot_work(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_groups(table(tmp_path, text))


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no file"):
        read_groups(tmp_path / "none.csv")
