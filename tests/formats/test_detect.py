"""Finding a source's format, and opening it. What each format looks like is in its own tests."""

from pathlib import Path

import pytest

from sa_engine.errors import AnnotationError, UsageError
from sa_engine.formats.detect import detect_format, open_annotations
from sa_engine.formats.readers.coco import CocoSource
from sa_engine.formats.registry import Format
from tests.formats.readers import test_coco
from tests.support.drawing import save_picture


def test_a_folder_with_one_annotation_file(tmp_path: Path) -> None:
    test_coco.write(tmp_path)
    save_picture(tmp_path / "images" / "a.png")

    assert detect_format(tmp_path) is Format.COCO
    source = open_annotations(tmp_path, Format.COCO)
    assert isinstance(source, CocoSource)
    assert source.image_folder == str(tmp_path / "images")


def test_a_folder_with_several_annotation_files(tmp_path: Path) -> None:
    content = test_coco.write(tmp_path).read_bytes()
    (tmp_path / "other.json").write_text("{}")
    assert isinstance(open_annotations(tmp_path, Format.COCO), CocoSource)

    # Two states of one data set: nobody can tell which is meant.
    (tmp_path / "old.json").write_bytes(content)
    with pytest.raises(UsageError, match=r"old\.json both list a\.png: name the one"):
        open_annotations(tmp_path, Format.COCO)
    with pytest.raises(UsageError, match="has no cvat file: name the one"):
        open_annotations(tmp_path, Format.CVAT)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.zip", "PK", "is packed: unpack it"),
        ("a.json", '{"x": 1}', "say it with --format"),
        ("a.json", "[3]", "say it with --format"),
        ("a.json", '{"x": ', "cannot tell the format .* ends too early"),
        ("a.xml", "<html/>", "say it with --format"),
        ("a.jpg", "", "say it with --format"),
        ("README.txt", "0 0.1 0.1 0.9 0.1 0.9 0.9\n", "is a text file.* data.yaml"),
    ],
)
def test_what_is_no_annotation_file(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)

    with pytest.raises(UsageError, match=message):
        detect_format(tmp_path / name)


def test_a_text_file_is_no_yolo_set_even_if_it_is_called_one(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("0 0.1 0.1 0.9 0.1 0.9 0.9\n")
    with pytest.raises(UsageError, match="is a text file"):
        open_annotations(tmp_path / "labels.txt", Format.YOLO_SEG)


def test_what_is_not_there(tmp_path: Path) -> None:
    for function in (detect_format, lambda path: open_annotations(path, Format.COCO)):
        with pytest.raises(UsageError, match=r"there is no .*none: give an existing"):
            function(tmp_path / "none")
    with pytest.raises(UsageError, match="say it with --format"):
        detect_format(tmp_path)


@pytest.mark.parametrize("kind", list(Format))
def test_a_file_of_another_format_is_refused(tmp_path: Path, kind: Format) -> None:
    (tmp_path / "a.bin").write_bytes(b"\x01\x02")

    with pytest.raises((AnnotationError, UsageError)):
        open_annotations(tmp_path, kind)
