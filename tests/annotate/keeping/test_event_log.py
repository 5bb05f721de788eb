"""An event is acknowledged once it is on the disk, and half a line never counts."""

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sa_engine.annotate.keeping.event_log import EventLog
from sa_engine.formats.work.log import JOURNAL, read_journal

KILLS = 12

WRITER = """
import sys
from pathlib import Path
from sa_engine.annotate.keeping.event_log import EventLog
log = EventLog.resume(Path(sys.argv[1]))
while True:
    futures = [log.append({"kind": "mask", "rle": "x" * 40000}) for _ in range(3)]
    for future in futures:
        print(future.result()["n"], flush=True)
"""


@pytest.fixture
def work(tmp_path: Path) -> Path:
    (tmp_path / JOURNAL).mkdir()
    return tmp_path


def test_events_are_numbered_across_starts(work: Path) -> None:
    for start in range(3):
        with EventLog.resume(work) as log:
            events = [log.append({"kind": "mask", "start": start}) for _ in range(4)]
            assert [future.result()["n"] for future in events] == [
                start * 4 + place for place in (1, 2, 3, 4)
            ]
    history = read_journal(work)
    assert [event["n"] for event in history.believed()] == list(range(1, 13))
    assert history.files == ["000001.log", "000002.log", "000003.log"]


def test_whatever_was_acknowledged_survives_a_kill(work: Path) -> None:
    draw = random.Random(0)
    told: set[int] = set()
    for _ in range(KILLS):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, work], stdout=subprocess.PIPE, text=True
        ) as writer:
            assert writer.stdout is not None
            told.add(int(writer.stdout.readline()))
            time.sleep(draw.uniform(0, 0.05))
            writer.kill()
            told |= {int(line) for line in writer.stdout if line.endswith("\n")}
        EventLog.resume(work).close()
        kept = [event["n"] for event in read_journal(work).believed()]
        assert told <= set(kept)
        assert kept == list(range(1, len(kept) + 1))
    assert len(told) >= KILLS


def test_what_a_kill_tore_is_set_aside(work: Path) -> None:
    with EventLog.resume(work) as log:
        log.append({"kind": "mask"}).result()
    path = work / JOURNAL / "000001.log"
    whole = path.read_bytes()
    path.write_bytes(whole + b"half a li")
    with EventLog.resume(work) as log:
        assert log.append({"kind": "mask"}).result()["n"] == 2
    assert path.read_bytes() == whole
    assert path.with_suffix(".torn").read_bytes() == b"half a li"
    assert len(read_journal(work).believed()) == 2


def test_a_full_disk_leaves_no_half_line(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    room = 300

    def write(descriptor: int, data: bytes) -> int:
        nonlocal room
        if room <= 0:
            raise OSError(28, "No space left on device")
        count = real(descriptor, bytes(data)[:room])
        room -= count
        return count

    with EventLog.resume(work) as log:
        assert log.append({"kind": "mask"}).result()["n"] == 1
        monkeypatch.setattr("sa_engine.annotate.keeping.event_log.os.write", write)
        failing = [log.append({"kind": "mask", "rle": "x" * 500}) for _ in range(2)]
        for future in failing:
            with pytest.raises(OSError, match="No space left"):
                future.result()
        room = 1 << 20
        assert log.append({"kind": "removed"}).result()["n"] == 2
    assert [event["kind"] for event in read_journal(work).believed()] == ["mask", "removed"]
