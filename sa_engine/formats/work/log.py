"""The journal's lines: people's answers, one event a line, each vouching for itself.

A line is `<digest> <digest of the line before> <JSON>\\n`, where the first digest is the BLAKE2b-16
of all that follows it but the newline. A line that does not verify takes no other with it: what
people did cannot be made again. That a line is missing shows by the digest before.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sa_engine.dataset.folder.base import explain_read
from sa_engine.dataset.folder.sealed import canonical
from sa_engine.errors import DamagedError, UsageError

JOURNAL = "journal"
START = "0" * 32
"""Stands for the digest of the line before the first."""

_DIGITS = 32
_HEAD = 2 * _DIGITS + 2

JournalEvent = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Damage:
    """What is wrong with a journal: the file's name, the line from 1, and what it is."""

    file: str
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.file} line {self.line}: {self.what}"


@dataclass(frozen=True, slots=True)
class Log:
    """One file of a journal.

    events: of the lines that verify, in order.
    last: digest of the last of these lines.
    torn: the bytes after the last newline, which nobody was told were kept; empty if there are
        none.
    """

    events: Sequence[JournalEvent]
    damage: Sequence[Damage]
    last: str
    torn: bytes


@dataclass(frozen=True, slots=True)
class History:
    """All files of a journal; see `Log`. files: their names, in order."""

    events: Sequence[JournalEvent]
    damage: Sequence[Damage]
    last: str
    files: Sequence[str]

    def believed(self, *, accept_damage: bool = False) -> Sequence[JournalEvent]:
        """The events. DamagedError, naming what is lost, unless damage is accepted."""
        if self.damage and not accept_damage:
            shown = "; ".join(str(each) for each in self.damage[:5])
            more = f"; and {len(self.damage) - 5} more" if len(self.damage) > 5 else ""
            raise DamagedError(
                f"the journal is damaged: {shown}{more}. All other lines are whole: restore the "
                "file from a backup, or go on without what is lost with --accept-damage"
            )
        return self.events


def spell(event: JournalEvent, before: str) -> tuple[bytes, str]:
    """An event's line, and its digest. ValueError if it holds a number that is not finite."""
    rest = f"{before} {canonical(event)}".encode("ascii")
    digest = _digest(rest)
    return f"{digest} ".encode("ascii") + rest + b"\n", digest


def read_log(data: bytes, *, name: str, before: str) -> Log:
    """The events of one file's bytes. before: digest of the line before its first."""
    *lines, tail = data.split(b"\n")
    events: list[JournalEvent] = []
    damage: list[Damage] = []
    is_gap_known = False
    number = 0
    for number, line in enumerate(lines, 1):
        event = _verified(line)
        if event is None:
            damage.append(Damage(name, number, f"{len(line)} bytes do not match their digest"))
            is_gap_known = True
            continue
        said = line[_DIGITS + 1 : _HEAD - 1].decode("ascii")
        if said != before and not is_gap_known:
            damage.append(Damage(name, number, "the line before it is missing"))
        is_gap_known = False
        before = line[:_DIGITS].decode("ascii")
        events.append(event)
    if tail and _verified(tail[:-1]) is not None:
        # The whole line is there, so its newline was: somebody was told that it was kept.
        damage.append(Damage(name, number + 1, "its last byte was changed"))
    return Log(events, damage, before, tail)


def history_files(folder: Path) -> list[str]:
    """The names of a journal's files, in order."""
    return sorted(path.name for path in folder.glob("*.log"))


def read_journal(work: Path) -> History:
    """All events of WORK, in order. UsageError if it has no journal."""
    folder = work / JOURNAL
    if not folder.is_dir():
        raise UsageError(f"{work} has no {JOURNAL}/: give the folder that sa-engine annotate made")
    events: list[JournalEvent] = []
    damage: list[Damage] = []
    before = START
    paths = [folder / name for name in history_files(folder)]
    for place, path in enumerate(paths, 1):
        if path.name != f"{place:06d}.log":
            damage.append(Damage(f"{place:06d}.log", 1, "the file is missing"))
            break
        with explain_read(path):
            log = read_log(path.read_bytes(), name=path.name, before=before)
        events += log.events
        damage += log.damage
        before = log.last
    return History(events, damage, before, [path.name for path in paths])


def _verified(line: bytes) -> JournalEvent | None:
    rest = line[_DIGITS + 1 :]
    if line[: _DIGITS + 1] != f"{_digest(rest)} ".encode("ascii"):
        return None
    try:
        event = json.loads(line[_HEAD:])
    except ValueError:
        return None
    return event if isinstance(event, dict) else None


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=_DIGITS // 2).hexdigest()
