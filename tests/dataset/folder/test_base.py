import errno
import io
import os
from pathlib import Path

import pytest

from sa_engine.dataset.folder import base
from sa_engine.dataset.folder.base import (
    LocalFolder,
    explain_write,
    open_folder,
    read_range,
    read_regular,
    sha256_of,
)
from sa_engine.errors import DatasetError, UsageError


def test_whole_files_and_ranges(tmp_path: Path) -> None:
    folder = open_folder(tmp_path)
    folder.write("b.bin", b"0123456789")
    folder.write("a.bin", b"")
    assert folder.names() == ["a.bin", "b.bin"]
    assert folder.read("b.bin") == b"0123456789" and folder.size("b.bin") == 10
    assert folder.read_range("b.bin", 3, 4) == b"3456"
    assert folder.read_range("b.bin", 8, 9) == b"89" and folder.read_range("b.bin", 20, 9) == b""
    with folder.open("b.bin") as file:
        assert file.seek(5) == 5 and file.read() == b"56789"
    folder.write("b.bin", b"new")
    assert folder.read("b.bin") == b"new"
    folder.remove("b.bin")
    folder.remove("b.bin")
    assert folder.size("b.bin") is None and folder.names() == ["a.bin"]
    with pytest.raises(FileNotFoundError):
        folder.read("b.bin")
    assert list(folder.scratch.iterdir()) == []


def test_publishing_and_withdrawing(tmp_path: Path) -> None:
    folder = LocalFolder(tmp_path)
    path = folder.scratch / "x"
    path.write_bytes(b"x")
    folder.publish(path, "final")
    assert folder.names() == ["final"] and not path.exists()
    folder.withdraw("final", path)
    assert folder.names() == [] and path.read_bytes() == b"x"
    (tmp_path / "final").write_bytes(b"older")
    with pytest.raises(DatasetError, match="cannot write"):
        folder.withdraw("final", folder.scratch / "gone" / "x")
    assert folder.read("final") == b"older"


def test_urls_of_unknown_stores_are_refused_and_odd_names_are_not(tmp_path: Path) -> None:
    for url in ("file:///x", "http://host/x", "s4://bucket/x"):
        with pytest.raises(UsageError, match="begins with s3://, gs://"):
            open_folder(url)
    assert open_folder("C:/x").url == "C:/x"
    assert open_folder(tmp_path / "a:b").url == str(tmp_path / "a:b")


def test_only_regular_files_of_bounded_size(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"12345")
    assert read_regular(path, 5) == b"12345"
    with pytest.raises(OSError, match="has 5 bytes, limit 4"):
        read_regular(path, 4)
    os.mkfifo(tmp_path / "pipe")
    for odd in ("/dev/zero", str(tmp_path / "pipe")):
        with pytest.raises(OSError, match="not a regular file"):
            read_regular(odd, 100)
    with pytest.raises(IsADirectoryError):
        read_regular(tmp_path, 100)
    assert read_range(path, 1, 2) == b"23"


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "free some space"),
        (errno.EROFS, "get write permission"),
        (errno.EACCES, "get write permission"),
        (errno.EIO, "see that it can be written"),
        (errno.ENOENT, "see that it can be written"),
    ],
)
def test_failures_to_write_say_what_to_do(number: int, advice: str) -> None:
    with (
        pytest.raises(DatasetError, match=f"cannot write /out/x: .*{advice}.*it continues"),
        explain_write("/out/x"),
    ):
        raise OSError(number, os.strerror(number))


def test_a_folder_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="cannot write"):
        LocalFolder(tmp_path / "gone").write("x", b"x")


def test_digest() -> None:
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert sha256_of(io.BytesIO(b"")) == empty


def test_a_scratch_folder_that_is_cleared_meanwhile_costs_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by another process that has just completed the same dataset."""
    folder = LocalFolder(tmp_path)
    real = base.write_synced
    cleared: list[bool] = []

    def cleared_once(path: Path, data: bytes) -> None:
        real(path, data)
        if len(cleared) < 2:
            cleared.append(folder.drop_scratch())

    monkeypatch.setattr(base, "write_synced", cleared_once)
    folder.write("report.json", b"{}")
    assert cleared == [True, True] and folder.read("report.json") == b"{}"


def test_what_is_no_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"x")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "folder").mkdir()
    (tmp_path / ".work").mkdir()
    assert LocalFolder(tmp_path).odd() == {"folder": "a folder", "link": "a link"}
    assert LocalFolder(tmp_path).size("folder") is None
