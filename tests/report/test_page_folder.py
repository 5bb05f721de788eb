"""A page replaces nothing but an older page of its own command, and is whole or not there."""

from pathlib import Path
from typing import Any

import pytest

from sa_engine.errors import OutputError, UsageError
from sa_engine.report.page_folder import check_page_folder, page_folder

HEAD = '<!doctype html><meta name="generator" content="sa-engine show">'


def check(out: Path, **more: Any) -> None:
    check_page_folder(out, generator="sa-engine show", entries=("index.html", "data.js"), **more)


def write(out: Path, text: str = HEAD) -> None:
    check(out)
    with page_folder(out) as folder:
        (folder / "index.html").write_text(text)


def test_a_page_is_written_and_written_again(tmp_path: Path) -> None:
    out = tmp_path / "new" / "page"
    write(out)
    write(out, HEAD + "second")
    assert (out / "index.html").read_text().endswith("second")
    assert [path.name for path in out.parent.iterdir()] == ["page"]


@pytest.mark.parametrize("name", ["index.html", "notes.txt"])
def test_files_of_others_are_left_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(UsageError, match="holds other files"):
        check(tmp_path)
    assert (tmp_path / name).read_text() == "mine"


def test_a_file_beside_an_older_page_is_not_lost(tmp_path: Path) -> None:
    out = tmp_path / "page"
    write(out)
    (out / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="holds other files"):
        check(out)


def test_not_a_file_nor_inside_a_dataset(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="is a file"):
        check(tmp_path / "file")
    with pytest.raises(UsageError, match="lies in the dataset"):
        check(tmp_path / "data" / "page", apart_from=[str(tmp_path / "data")])
    with pytest.raises(UsageError, match="cannot write"):
        check(tmp_path / "file" / "page")


def test_what_fails_leaves_the_older_page(tmp_path: Path) -> None:
    out = tmp_path / "page"
    write(out)
    with pytest.raises(OutputError, match="No space left"), page_folder(out) as folder:
        (folder / "index.html").write_text("half")
        raise OSError(28, "No space left on device")
    assert (out / "index.html").read_text() == HEAD
    assert [path.name for path in tmp_path.iterdir()] == ["page"]
