"""Boxes in COCO's results format go to their images."""

import json
from pathlib import Path

import pytest

from sa_engine.dataset.records import ImageRecord
from sa_engine.errors import UsageError
from sa_engine.evaluation.box_file import GivenBox, read_boxes

ENTRY = {"image_id": 42, "category_id": 7, "bbox": [1, 2, 3, 4.5], "score": 0.5}


def write(path: Path, content: object) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def record(image_id: int, **attributes: int) -> ImageRecord:
    return ImageRecord(
        image_id=image_id,
        file_name="",
        source="",
        width=1,
        height=1,
        sha256="",
        attributes=attributes,
    )


def test_by_the_sources_number_and_by_the_datasets(tmp_path: Path) -> None:
    boxes = read_boxes(write(tmp_path / "b.json", [ENTRY]))
    expected = [GivenBox((1, 2, 3, 4.5), 7, 0.5)]
    assert boxes.of(record(1, source_id=42)) == expected
    assert boxes.of(record(42)) == expected
    assert boxes.of(record(42, source_id=3)) == ()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is no JSON"),
        ({"a": 1}, "is no list"),
        ([{**ENTRY, "bbox": [1, 2]}], "entry 0"),
        ([ENTRY, {"image_id": 1}], "entry 1"),
    ],
)
def test_files_that_cannot_work(tmp_path: Path, content: object, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_boxes(write(tmp_path / "b.json", content))


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        read_boxes(tmp_path / "none.json")
