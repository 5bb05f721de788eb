"""From names in annotations to files of the image folder, and never outside it."""

from pathlib import Path

import pytest

from sa_engine.dataset.sources.listing import list_sources
from sa_engine.dataset.sources.source_list import Source, SourceList
from sa_engine.formats.base import ListedImage
from sa_engine.formats.names import Found, ImageNames, safe_parts
from sa_engine.formats.reasons import Loss


@pytest.fixture
def names(tmp_path: Path) -> ImageNames:
    """Six files, by position: a.jpg, b.jpg, one/a.jpg, one/c.JPG, two/c.png, two/d.jpg."""
    for name in ("a.jpg", "b.jpg", "one/a.jpg", "one/c.JPG", "two/c.png", "two/d.jpg"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    return ImageNames(list_sources(tmp_path))


@pytest.mark.parametrize(
    ("name", "position"),
    [
        ("a.jpg", 0),
        ("one/a.jpg", 2),
        ("one\\a.jpg", 2),
        ("./one//a.jpg", 2),
        # Folders that are not there are left out.
        ("val2017/b.jpg", 1),
        ("set/one/a.jpg", 2),
        ("elsewhere/a.jpg", 0),
        # A file of a sub-folder goes by its last part.
        ("d.jpg", 5),
        ("s3://bucket/two/d.jpg?version=3", 5),
    ],
)
def test_names_that_are_found(names: ImageNames, name: str, position: int) -> None:
    assert names.find(ListedImage(name)) == Found(position)


@pytest.mark.parametrize(
    ("name", "position"),
    [
        ("/home/ann/pictures/b.jpg", 1),
        ("C:\\pictures\\b.jpg", 1),
        ("\\\\server\\share\\b.jpg", 1),
        ("../../b.jpg", 1),
        ("one/../../b.jpg", 1),
    ],
)
def test_names_that_lead_elsewhere_count_by_their_last_part(
    names: ImageNames, name: str, position: int
) -> None:
    found = names.find(ListedImage(name))

    assert isinstance(found, Found)
    assert found.position == position
    assert found.repairs == ("unsafe-file-name",)


@pytest.mark.parametrize(
    "name", ["none.jpg", "/etc/passwd", "..", "/", "", "a", "A.JPG", "\0", "b.jpg\0", "\ud800.jpg"]
)
def test_names_that_are_missing(names: ImageNames, name: str) -> None:
    assert names.find(ListedImage(name)) is Loss.IMAGE_MISSING


def test_further_names_and_endings(names: ImageNames) -> None:
    assert names.find(ListedImage("0f3a9b2c-b.jpg", ("b.jpg",))) == Found(1)
    assert names.find(ListedImage("d.mat", any_ending=("d",))) == Found(5)
    assert names.find(ListedImage("x.json", any_ending=("two/c",))) == Found(4)


def test_names_that_fit_several_files(tmp_path: Path) -> None:
    for name in ("one/a.jpg", "two/a.jpg", "two/b.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    names = ImageNames(list_sources(tmp_path))

    assert names.find(ListedImage("a.jpg")) is Loss.IMAGE_AMBIGUOUS
    assert names.find(ListedImage("three/a.jpg")) is Loss.IMAGE_MISSING
    assert names.find(ListedImage("two/a.jpg")) == Found(1)


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("one/a.jpg", ["one", "a.jpg"]),
        ("../one/a.jpg", ["a.jpg"]),
        ("/one/a.jpg", ["a.jpg"]),
        ("C:\\one\\a.jpg", ["a.jpg"]),
        ("..", []),
    ],
)
def test_parts_that_can_be_written(name: str, parts: list[str]) -> None:
    assert safe_parts(name) == parts


def listed(*files: str) -> ImageNames:
    return ImageNames(SourceList.of([Source(name, name) for name in files]))


@pytest.mark.parametrize(
    ("files", "name", "found"),
    [
        # Another camera's picture is never taken.
        (("cam2/0001.jpg",), "cam1/0001.jpg", None),
        (("cam2/0001.jpg",), r"..\images\cam1\0001.jpg", None),
        (("setB/cam1/1.jpg",), "setA/cam1/1.jpg", None),
        (("b/a.jpg", "a.jpg"), "c/a.jpg", 1),
        # The last folders decide, wherever the name comes from.
        (("cam1/0001.jpg", "cam2/0001.jpg"), r"..\images\cam1\0001.jpg", 0),
        (("cam1/0001.jpg", "cam2/0001.jpg"), r"D:\project\cam2\0001.jpg", 1),
        (("cam1/0001.jpg", "cam2/0001.jpg"), "/home/ann/cam2/0001.jpg", 1),
        (("cam1/0001.jpg", "cam2/0001.jpg"), "cam1/../cam2/0001.jpg", 1),
        (("x/cam1/1.jpg", "y/cam1/1.jpg"), "z/y/cam1/1.jpg", 1),
        (("x/cam1/1.jpg", "y/cam1/1.jpg"), "cam1/1.jpg", "ambiguous"),
        # Folders of kinds of files say nothing of which file.
        (("images/cam1/1.jpg", "images/cam2/1.jpg"), "labels/cam2/1.jpg", 1),
        (("images/1.jpg", "masks/1.jpg"), "images/1.jpg", 0),
        (("images/1.jpg", "masks/1.jpg"), "1.jpg", "ambiguous"),
        # Neither of two in unlike depths is guessed.
        (("a/1.jpg", "b/c/1.jpg"), "1.jpg", "ambiguous"),
        # Composed and decomposed letters are the same.
        (("caf\u00e9/\u00fc.jpg",), "cafe\u0301/u\u0308.jpg", 0),
        (("cafe\u0301/u\u0308.jpg",), "caf\u00e9/\u00fc.jpg", 0),
    ],
)
def test_the_longest_common_end_of_whole_parts(
    files: tuple[str, ...], name: str, found: int | str | None
) -> None:
    result = listed(*files).find(ListedImage(name))
    if isinstance(found, int):
        assert isinstance(result, Found) and result.position == found
    else:
        assert result is (Loss.IMAGE_AMBIGUOUS if found else Loss.IMAGE_MISSING)


def test_a_further_name_overlooks_no_folder_either() -> None:
    names = listed("cam2/0001.jpg")
    assert names.find(ListedImage("cam1/0001.jpg", ("0001.jpg",))) is Loss.IMAGE_MISSING
    assert names.find(ListedImage("x.txt", any_ending=("cam1/0001",))) is Loss.IMAGE_MISSING
    assert names.find(ListedImage("x.txt", any_ending=("cam2/0001",))) == Found(0)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("CAM2/img.jpg", "cam2/IMG.JPG differs in upper and lower case"),
        ("cam1/IMG.JPG", "cam2/IMG.JPG is in another folder"),
        ("else.jpg", None),
    ],
)
def test_what_a_missing_image_may_be(name: str, hint: str | None) -> None:
    assert listed("cam2/IMG.JPG").hint(ListedImage(name)) == hint
