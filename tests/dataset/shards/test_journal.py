import os
from pathlib import Path

import pytest

from sa_engine.dataset.shards.journal import Entry, Journal, read_journal
from sa_engine.errors import DatasetError


def entry(number: int) -> Entry:
    return Entry({"image_id": number, "error": None}, 512 * number, "00ff", 0.25 * number)


def write(path: Path, *numbers: int, header: str = "run 1") -> None:
    journal = Journal(path, header)
    for number in numbers:
        journal.append(entry(number))
    journal.close()


def test_what_was_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "j"
    write(path, 1, 2, 3)
    assert read_journal(path, "run 1") == [entry(1), entry(2), entry(3)]
    assert read_journal(path, "run 2") == [] == read_journal(tmp_path / "none", "run 1")
    assert not (tmp_path / "none").exists()


def test_belief_ends_at_the_first_line_that_was_touched(tmp_path: Path) -> None:
    path = tmp_path / "j"
    write(path, 1, 2, 3)
    data = path.read_bytes()
    lines = data.splitlines(keepends=True)
    for damaged, believed in [
        (data[:-1], [1, 2]),
        (data.replace(b"1024", b"1025"), [1]),
        (lines[0] + lines[2] + lines[1], [1]),
        (lines[1] + lines[2], []),
        (data + b"\0" * 100, [1, 2, 3]),
        (data + lines[2], [1, 2, 3]),
        (b"\xff\xfe" + data, []),
    ]:
        path.write_bytes(damaged)
        assert read_journal(path, "run 1") == [entry(number) for number in believed]


def test_every_cut_keeps_the_lines_before_it(tmp_path: Path) -> None:
    path = tmp_path / "j"
    write(path, 1, 2)
    data = path.read_bytes()
    first = len(data.splitlines(keepends=True)[0])
    for length in range(len(data)):
        path.write_bytes(data[:length])
        assert len(read_journal(path, "run 1")) == (1 if length >= first else 0)


def test_a_journal_belongs_to_other_work_at_once_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    descriptors = Path("/proc/self/fd")
    num_open = len(list(descriptors.iterdir()))
    journal = Journal(tmp_path / "j", "trial")
    journal.append(entry(1))

    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(DatasetError, match="No space left"):
        patch.setattr(os, "fsync", fail)
        journal.rename("run 1")
    assert read_journal(tmp_path / "j", "trial") == [entry(1)]
    (tmp_path / "renamed").unlink()
    journal.rename("run 1")
    journal.append(entry(2))
    assert read_journal(tmp_path / "j", "run 1") == [entry(1), entry(2)]
    journal.clear()
    assert (tmp_path / "j").read_bytes() == b""
    journal.append(entry(3))
    journal.close()
    assert len(list(descriptors.iterdir())) <= num_open
    assert read_journal(tmp_path / "j", "run 1") == [entry(3)]


def test_a_write_that_falls_short_goes_on_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "whole", 1, 2)
    real = os.pwrite

    def short(descriptor: int, data: memoryview, offset: int) -> int:
        return real(descriptor, data[:7], offset)

    monkeypatch.setattr(os, "pwrite", short)
    write(tmp_path / "pieces", 1, 2)
    assert (tmp_path / "pieces").read_bytes() == (tmp_path / "whole").read_bytes()


def test_numbers_that_json_has_not_are_refused(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j", "run 1")
    with pytest.raises(ValueError, match="JSON"):
        journal.append(Entry({}, 0, "", float("nan")))
    journal.close()
    assert (tmp_path / "j").read_bytes() == b""
