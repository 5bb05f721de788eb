"""The journal's lines: what is whole is believed, what is not is named."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sa_engine.errors import DamagedError, UsageError
from sa_engine.formats.work.log import START, History, read_journal, read_log, spell


def lines(count: int, before: str = START) -> tuple[bytes, str]:
    data = b""
    for number in range(1, count + 1):
        line, before = spell({"n": number, "note": f"ä{number}"}, before)
        data += line
    return data, before


def numbers(data: bytes) -> list[int]:
    return [event["n"] for event in read_log(data, name="1", before=START).events]


def test_what_was_written_is_read() -> None:
    data, last = lines(5)
    log = read_log(data, name="1", before=START)
    assert [event["n"] for event in log.events] == [1, 2, 3, 4, 5]
    assert log.events[0]["note"] == "ä1"
    assert (log.damage, log.last, log.torn) == ([], last, b"")


@given(st.integers(0, 10_000))
def test_a_file_that_ends_anywhere_gives_its_whole_lines(cut: int) -> None:
    data, _ = lines(4)
    cut %= len(data) + 1
    log = read_log(data[:cut], name="1", before=START)
    whole = data[:cut].count(b"\n")
    assert [event["n"] for event in log.events] == list(range(1, whole + 1))
    assert log.torn == data[:cut].rpartition(b"\n")[2]


def test_every_flipped_bit_is_found_and_takes_no_other_line() -> None:
    whole = lines(6)[0]
    for place in range(len(whole)):
        for bit in range(8):
            data = bytearray(whole)
            data[place] ^= 1 << bit
            log = read_log(bytes(data), name="1", before=START)
            assert log.damage, (place, bit)
            hurt = bytes(data[:place]).count(b"\n") + 1
            # A newline that was changed joins two lines.
            assert set(range(1, 7)) - {event["n"] for event in log.events} <= {hurt, hurt + 1}
            assert len(log.events) >= 4


def test_a_line_that_is_gone_shows() -> None:
    data, _ = lines(4)
    rows = data.splitlines(keepends=True)
    log = read_log(b"".join([*rows[:1], *rows[2:]]), name="1", before=START)
    assert [event["n"] for event in log.events] == [1, 3, 4]
    assert [str(each) for each in log.damage] == ["1 line 2: the line before it is missing"]


def test_a_file_that_is_gone_shows(tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    folder.mkdir()
    first, last = lines(2)
    (folder / "000001.log").write_bytes(first)
    (folder / "000002.log").write_bytes(spell({"n": 3}, last)[0])
    assert [event["n"] for event in read_journal(tmp_path).believed()] == [1, 2, 3]
    (folder / "000001.log").unlink()
    with pytest.raises(DamagedError, match=r"000001.log line 1: the file is missing"):
        read_journal(tmp_path).believed()


def test_damage_is_refused_and_named_unless_it_is_accepted(tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    folder.mkdir()
    data = bytearray(lines(3)[0])
    data[len(data) // 2] ^= 1
    (folder / "000001.log").write_bytes(data)
    history = read_journal(tmp_path)
    assert isinstance(history, History)
    with pytest.raises(DamagedError, match=r"000001.log line 2.*--accept-damage"):
        history.believed()
    assert [event["n"] for event in history.believed(accept_damage=True)] == [1, 3]


def test_a_folder_without_a_journal(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has no journal/"):
        read_journal(tmp_path)
