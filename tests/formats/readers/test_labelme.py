"""labelme: a file by the project's `LabelFile`."""

import base64
import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from sa_engine.errors import AnnotationError
from sa_engine.formats.detect import detect_format
from sa_engine.formats.readers.labelme import LabelmeSource
from sa_engine.formats.registry import Format
from tests.support.drawing import grid, rows


def patch(*pattern: str) -> str:
    """A mask patch as labelme stores it: PNG, base64."""
    buffer = io.BytesIO()
    Image.fromarray(grid(*pattern)).save(buffer, format="PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def shape(kind: str, points: Any, label: str = "cat", **further: Any) -> dict[str, Any]:
    return {
        "label": label,
        "points": points,
        "group_id": None,
        "description": "",
        "shape_type": kind,
        "flags": {},
        "mask": None,
        **further,
    }


SAMPLE: dict[str, Any] = {
    "version": "5.4.1",
    "flags": {"checked": True},
    "shapes": [
        shape("polygon", [[1, 1], [4, 1], [4, 3], [1, 3]], description="left ear"),
        # One label, one group: one object.
        shape("polygon", [[0, 0], [1, 0], [1, 1], [0, 1]], group_id=3),
        shape("polygon", [[7, 5], [8, 5], [8, 6], [7, 6]], group_id=3),
        # The same group under another label is another object.
        shape("polygon", [[0, 5], [1, 5], [1, 6], [0, 6]], "dog", group_id=3),
        # The box names its first and last pixel.
        shape("mask", [[2, 2], [4, 4]], mask=patch("###", "#.#", "###")),
        shape("circle", [[4, 3], [4, 5]]),
        shape("rectangle", [[6, 4], [2, 1]]),
        shape("point", [[1, 1]]),
        shape("line", [[1, 1], [2, 2]]),
    ],
    "imagePath": "..\\pictures\\a.png",
    "imageData": None,
    "imageHeight": 6,
    "imageWidth": 8,
}


def write(folder: Path, content: Any = SAMPLE, name: str = "a.json") -> Path:
    (folder / name).write_text(json.dumps(content))
    return folder


def test_a_file_by_the_book(tmp_path: Path) -> None:
    source = LabelmeSource(write(tmp_path))

    assert detect_format(tmp_path) is Format.LABELME
    assert source.images[0].file_name == "..\\pictures\\a.png"
    assert source.images[0].any_ending == ("a",)
    assert source.size_hw(0) == (6, 8)
    assert source.count(0) == 9
    image = source.read(0, (6, 8))
    polygon, group, dog, mask, circle = image.masks
    assert rows(polygon.segmentation) == [
        "........",
        ".###....",
        ".###....",
        "........",
        "........",
        "........",
    ]
    assert rows(group.segmentation) == [
        "#.......",
        "........",
        "........",
        "........",
        "........",
        ".......#",
    ]
    assert rows(dog.segmentation)[5] == "#......."
    assert rows(mask.segmentation) == [
        "........",
        "........",
        "..###...",
        "..#.#...",
        "..###...",
        "........",
    ]
    assert rows(circle.segmentation) == [
        "........",
        "...##...",
        "..####..",
        "..####..",
        "...##...",
        "........",
    ]
    assert [each.category for each in image.masks] == ["cat", "cat", "dog", "cat", "cat"]
    assert polygon.attributes == {"description": "left ear"}
    assert group.name == "shape 1+2"
    assert group.attributes == {"group_id": 3}
    assert [box.box_xywh for box in image.boxes] == [(2, 1, 4, 3)]
    assert Counter(n.reason.value for n in image.notes) == {"unsupported-shape": 2}
    assert image.attributes == {
        "file_name": "..\\pictures\\a.png",
        "flags": {"checked": True},
        "version": "5.4.1",
    }


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (shape("polygon", [[1, 1], [2, 2]]), "bad-polygon"),
        (shape("polygon", None), "bad-polygon"),
        (shape("polygon", [[1, 1, 1], [2, 2, 2], [3, 3, 3]]), "bad-polygon"),
        (shape("mask", [[2, 2], [4, 4]]), "bad-shape"),
        (shape("mask", [[2, 2], [4, 4]], mask="not base64"), "bad-shape"),
        (shape("mask", [[2, 2], [4, 4]], mask="AAAA"), "bad-shape"),
        (shape("mask", [[0, 0], [1, 1]], mask=patch("####", "####", "####", "####")), "bad-shape"),
        (shape("mask", [[2, 2], [3, 3]], mask=patch("..", "..")), "empty-mask"),
        (shape("mask", [[20, 2], [21, 3]], mask=patch("##", "##")), "empty-mask"),
        (shape("circle", [[2, 2]]), "bad-shape"),
        (shape("circle", [[2, 2], [2, 2]]), "bad-shape"),
        (shape("rectangle", [[2, 2], [2, 5]]), "bad-shape"),
        ("a shape", "not-an-annotation"),
    ],
)
def test_what_is_no_shape_is_dropped(tmp_path: Path, given: Any, reason: str) -> None:
    image = LabelmeSource(write(tmp_path, {**SAMPLE, "shapes": [given]})).read(0, (6, 8))

    assert not image.masks
    assert not image.boxes
    assert [note.reason.value for note in image.notes] == [reason]


def test_a_patch_over_the_edge_is_clipped(tmp_path: Path) -> None:
    given = shape("mask", [[-1, -1], [0, 0]], mask=patch("##", "##"))
    image = LabelmeSource(write(tmp_path, {**SAMPLE, "shapes": [given]})).read(0, (6, 8))

    assert rows(image.masks[0].segmentation)[:2] == ["#.......", "........"]
    assert image.masks[0].repairs == ("clipped-to-image",)


def test_a_broken_file_among_others(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "b.json").write_text('{"shapes": [')
    (tmp_path / "notes.json").write_text("{}")
    source = LabelmeSource(tmp_path)

    assert [image.file_name for image in source.images] == ["..\\pictures\\a.png", "b.json"]
    assert [(n.reason.value, n.what, n.of_images) for n in source.notes] == [
        ("bad-file", "notes.json", True)
    ]
    assert source.size_hw(1) is None
    assert [note.reason.value for note in source.read(1, (6, 8)).notes] == ["bad-file"]


def test_a_folder_without_labelme_files(tmp_path: Path) -> None:
    (tmp_path / "notes.json").write_text("{}")
    with pytest.raises(AnnotationError, match="no labelme files"):
        LabelmeSource(tmp_path)
