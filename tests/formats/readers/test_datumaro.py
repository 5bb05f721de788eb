"""Datumaro: a data set by the page of its format."""

import json
from pathlib import Path
from typing import Any

import pytest

from sa_engine.errors import AnnotationError
from sa_engine.formats.detect import detect_format
from sa_engine.formats.readers.datumaro import DatumaroSource
from sa_engine.formats.registry import Format
from tests.support.drawing import rows

SAMPLE: dict[str, Any] = {
    "dm_format_version": "1.0",
    "media_type": 2,
    "infos": {},
    "categories": {
        "label": {
            "labels": [
                {"name": "cat", "parent": "", "attributes": []},
                {"name": "dog", "parent": "", "attributes": []},
            ],
            "attributes": ["is_crowd"],
        }
    },
    "items": [
        {
            "id": "a",
            "annotations": [
                {
                    "id": 0,
                    "type": "polygon",
                    "attributes": {"pose": "sitting"},
                    "group": 0,
                    "label_id": 1,
                    "points": [1.0, 1.0, 4.0, 1.0, 4.0, 3.0, 1.0, 3.0],
                    "z_order": 0,
                },
                {
                    "id": 1,
                    "type": "mask",
                    "attributes": {"is_crowd": True},
                    "group": 0,
                    "label_id": 0,
                    "rle": {"counts": "01_1", "size": [6, 8]},
                    "z_order": 1,
                },
                {
                    "id": 2,
                    "type": "polygon",
                    "attributes": {},
                    "group": 4,
                    "label_id": 0,
                    "points": [0, 0, 1, 0, 1, 1, 0, 1],
                },
                {
                    "id": 3,
                    "type": "polygon",
                    "attributes": {},
                    "group": 4,
                    "label_id": 0,
                    "points": [7, 5, 8, 5, 8, 6, 7, 6],
                },
                # Left, top, right, bottom of the box around it.
                {"id": 4, "type": "ellipse", "group": 0, "label_id": 0, "points": [2, 1, 6, 5]},
                {"id": 5, "type": "bbox", "group": 0, "label_id": 0, "bbox": [1.0, 2.0, 3.0, 4.0]},
                {"id": 6, "type": "points", "group": 0, "label_id": 0, "points": [1, 1]},
                {"id": 7, "type": "label", "group": 0, "label_id": 0},
            ],
            "attr": {"frame": 0},
            "image": {"path": "a.png", "size": [6, 8]},
        },
        {"id": "b", "annotations": []},
    ],
}


def write(folder: Path, content: Any = SAMPLE) -> Path:
    (folder / "annotations").mkdir(exist_ok=True)
    (folder / "annotations" / "train.json").write_text(json.dumps(content))
    return folder


def test_a_data_set_by_the_book(tmp_path: Path) -> None:
    source = DatumaroSource(write(tmp_path))

    assert detect_format(tmp_path) is Format.DATUMARO
    assert detect_format(tmp_path / "annotations" / "train.json") is Format.DATUMARO
    assert [image.file_name for image in source.images] == ["a.png", "b"]
    assert source.images[1].any_ending == ("b",)
    assert {image.subset for image in source.images} == {"train"}
    assert (source.size_hw(0), source.size_hw(1)) == ((6, 8), None)
    assert (source.count(0), source.count(1)) == (7, 0)
    image = source.read(0, (6, 8))
    polygon, mask, group, ellipse = image.masks
    assert rows(polygon.segmentation) == [
        "........",
        ".###....",
        ".###....",
        "........",
        "........",
        "........",
    ]
    assert rows(mask.segmentation)[0] == "#......."
    assert rows(group.segmentation)[0] == "#......."
    assert rows(group.segmentation)[5] == ".......#"
    assert rows(ellipse.segmentation) == [
        "........",
        "...##...",
        "..####..",
        "..####..",
        "...##...",
        "........",
    ]
    assert [each.category for each in image.masks] == ["dog", "cat", "cat", "cat"]
    assert [each.iscrowd for each in image.masks] == [False, True, False, False]
    assert polygon.attributes == {
        "source_id": 0,
        "attributes": {"pose": "sitting"},
        "z_order": 0,
    }
    assert group.attributes == {"source_id": 2, "group": 4}
    assert [box.box_xywh for box in image.boxes] == [(1, 2, 3, 4)]
    assert [note.reason.value for note in image.notes] == ["tags", "unsupported-shape"]
    assert image.attributes == {
        "file_name": "a.png",
        "subset": "train",
        "attributes": {"frame": 0},
        "tags": ["cat"],
    }


@pytest.mark.parametrize(
    ("annotation", "reason"),
    [
        ({"type": "polygon", "points": [1, 1, 2, 2]}, "bad-polygon"),
        ({"type": "polygon"}, "bad-polygon"),
        ({"type": "mask", "rle": {"counts": "01_1", "size": [8, 6]}}, "rle-size-differs"),
        ({"type": "mask"}, "bad-rle"),
        ({"type": "ellipse", "points": [1, 1]}, "bad-shape"),
        ({"type": "bbox", "bbox": [1, 1, 0, 1]}, "bad-shape"),
        ({"type": "cuboid_3d"}, "unsupported-shape"),
    ],
)
def test_what_is_no_annotation_is_dropped(
    tmp_path: Path, annotation: dict[str, Any], reason: str
) -> None:
    item = {**SAMPLE["items"][0], "annotations": [{"id": 0, "label_id": 0, **annotation}]}
    image = DatumaroSource(write(tmp_path, {**SAMPLE, "items": [item]})).read(0, (6, 8))

    assert not image.masks
    assert not image.boxes
    assert [note.reason.value for note in image.notes] == [reason]


def test_a_file_of_another_form(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match='has no list of "items"'):
        DatumaroSource(write(tmp_path, {"images": []}))
