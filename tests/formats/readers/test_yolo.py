"""YOLO segmentation: a data set by the page of its format."""

from pathlib import Path

import pytest

from sa_engine.errors import AnnotationError
from sa_engine.formats.detect import detect_format
from sa_engine.formats.readers.yolo import YoloSource
from sa_engine.formats.registry import Format
from tests.support.drawing import rows, save_picture

SAMPLE = """0 0.125 0.166666667 0.5 0.166666667 0.5 0.5 0.125 0.5

1 0.5 0.5 0.25 0.333333333
"""
NAMES = """path: .
train: images/train
names:
  0: cat
  1: 'dog: big'
"""


def write(folder: Path, labels: str = SAMPLE, names: str = NAMES) -> Path:
    (folder / "labels" / "train").mkdir(parents=True, exist_ok=True)
    (folder / "labels" / "train" / "a.txt").write_text(labels)
    (folder / "data.yaml").write_text(names)
    save_picture(folder / "images" / "train" / "a.png")
    save_picture(folder / "images" / "train" / "empty.png")
    return folder


def test_a_data_set_by_the_book(tmp_path: Path) -> None:
    source = YoloSource(write(tmp_path))

    assert detect_format(tmp_path) is Format.YOLO_SEG
    assert source.unlisted_are_empty
    assert source.image_folder == str(tmp_path)
    assert source.images[0].any_ending == ("images/train/a", "labels/train/a")
    assert source.count(0) == 2
    image = source.read(0, (6, 8))
    assert rows(image.masks[0].segmentation) == [
        "........",
        ".###....",
        ".###....",
        "........",
        "........",
        "........",
    ]
    assert image.masks[0].category == "cat"
    assert image.masks[0].attributes == {"category_id": 0}
    (box,) = image.boxes
    assert box.category == "dog: big"
    assert [round(value, 6) for value in box.box_xywh] == [3, 2, 2, 2]


@pytest.mark.parametrize(
    "names",
    [
        "names: [cat, dog]",
        "names:\n- cat\n- dog",
        "names: {0: cat, 1: dog}",
        "names: {'0': cat, '1': dog}",
    ],
)
def test_every_spelling_of_names(tmp_path: Path, names: str) -> None:
    source = YoloSource(write(tmp_path, names=names))

    assert source.categories == [{"id": 0, "name": "cat"}, {"id": 1, "name": "dog"}]


def test_names_one_a_line(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "data.yaml").unlink()
    (tmp_path / "classes.txt").write_text("cat\ndog\n")

    assert [each["name"] for each in YoloSource(tmp_path).categories] == ["cat", "dog"]


def test_a_class_without_name_goes_by_its_number(tmp_path: Path) -> None:
    source = YoloSource(write(tmp_path, "17 0 0 1 0 1 1\n"))

    assert source.read(0, (6, 8)).masks[0].category == "17"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("0 0.1 0.1 0.2", "not-an-annotation"),
        ("cat 0.1 0.1 0.2 0.2 0.3 0.3", "not-an-annotation"),
        ("0.5 0.1 0.1 0.2 0.2 0.3 0.3", "not-an-annotation"),
        ("-1 0.1 0.1 0.2 0.2 0.3 0.3", "not-an-annotation"),
        ("0 0.1 0.1 0.2 0.2 0.3 0.3 0.4", "bad-polygon"),
        ("0 0.1 0.1 nan 0.2 0.3 0.3", "bad-polygon"),
        ("0 inf 0.1 0.2 0.2", "bad-shape"),
        ("0 0.5 0.5 0 0.5", "bad-shape"),
        ("0 2 2 3 2 3 3", "empty-mask"),
    ],
)
def test_what_is_no_row_is_dropped(tmp_path: Path, row: str, reason: str) -> None:
    image = YoloSource(write(tmp_path, row)).read(0, (6, 8))

    assert not image.masks
    assert not image.boxes
    assert [(note.reason.value, note.what) for note in image.notes] == [(reason, "row 1")]


def test_rings_over_the_edge_are_clipped(tmp_path: Path) -> None:
    image = YoloSource(write(tmp_path, "0 -1 -1 0.25 -1 0.25 0.5 -1 0.5")).read(0, (6, 8))

    assert rows(image.masks[0].segmentation)[0] == "##......"
    assert image.masks[0].repairs == ("clipped-to-image",)


def test_a_file_that_is_not_text(tmp_path: Path) -> None:
    source = YoloSource(write(tmp_path, "\0\0"))

    assert [note.reason.value for note in source.read(0, (6, 8)).notes] == ["bad-file"]


@pytest.mark.parametrize("names", ["names: [", "- &a [*a]\n- !!python/object:os.system x"])
def test_names_that_cannot_be_read(tmp_path: Path, names: str) -> None:
    with pytest.raises(AnnotationError, match=r"cannot read .*data\.yaml"):
        YoloSource(write(tmp_path, names=names))
