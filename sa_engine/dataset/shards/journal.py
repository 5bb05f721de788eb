"""A shard's journal: one line per finished image, so that a killed shard goes on where it stopped.

Each line is a checksum and a JSON object; the checksum covers the line before it too, so a line
that was cut, changed or written by another run ends what is believed, and so does everything after.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from sa_engine.dataset.folder.base import explain_write

_CHECKSUM_BYTES = 16
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Entry:
    """What is known of one finished image.

    row: its row of the Parquet file without the masks, which its JSON in the tar holds.
    tar_end: length of the unfinished tar after it, bytes.
    segment: checksum of what it added to the tar.
    seconds: time spent on it.
    """

    row: Mapping[str, Any]
    tar_end: int
    segment: str
    seconds: float


def checksum(data: bytes) -> str:
    """The short checksum of lines and tar segments."""
    return hashlib.blake2b(data, digest_size=_CHECKSUM_BYTES).hexdigest()


class Journal:
    """A new journal that grows by whole lines. `header` names the work it belongs to."""

    def __init__(self, path: Path, header: str) -> None:
        self._path = path
        self._seed = checksum(header.encode())
        self._previous = self._seed
        self._length = 0
        with explain_write(path):
            self._descriptor = os.open(path, _NEW, 0o644)

    def entries(self) -> Iterator[Entry]:
        """Every entry, as it lies on disk, up to one that cannot be believed."""
        with open(self._descriptor, "rb", closefd=False) as file:
            file.seek(0)
            yield from _believed(file, self._seed)

    def clear(self) -> None:
        """Forget all entries."""
        self._previous, self._length = self._seed, 0
        with explain_write(self._path):
            os.ftruncate(self._descriptor, 0)

    def append(self, entry: Entry) -> None:
        """Add one line; after it returns, a kill does not lose it."""
        text = json.dumps(
            {
                "row": entry.row,
                "tar_end": entry.tar_end,
                "segment": entry.segment,
                "seconds": entry.seconds,
            },
            separators=(",", ":"),
            allow_nan=False,
        ).encode("ascii")
        digest = _chained(self._previous, text)
        line = b"%s %s\n" % (digest.encode("ascii"), text)
        with explain_write(self._path):
            write_at(self._descriptor, line, self._length)
        self._previous, self._length = digest, self._length + len(line)

    def sync(self) -> None:
        """Wait until the disk has it all, so that a power cut loses nothing either."""
        with explain_write(self._path):
            os.fsync(self._descriptor)

    def rename(self, header: str) -> None:
        """Let it belong to other work from now on; at once, or not at all."""
        renamed = self._path.with_name("renamed")
        journal = Journal(renamed, header)
        try:
            for entry in self.entries():
                journal.append(entry)
            journal.sync()
            with explain_write(self._path):
                renamed.replace(self._path)
        except BaseException:
            journal.close()
            raise
        self.close()
        self._descriptor, self._seed = journal._descriptor, journal._seed
        self._previous, self._length = journal._previous, journal._length

    def close(self) -> None:
        """Let go of the file; what it holds stays."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def read_journal(path: Path, header: str) -> list[Entry]:
    """What a journal says, without touching it; nothing if it is not there (any more)."""
    try:
        with path.open("rb") as file:
            return list(_believed(file, checksum(header.encode())))
    except FileNotFoundError:
        return []


def write_at(descriptor: int, data: bytes, offset: int) -> None:
    """Write all of `data` at `offset` of an open file."""
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written


def _chained(previous: str, text: bytes) -> str:
    return checksum(previous.encode("ascii") + text)


def _believed(file: BinaryIO, seed: str) -> Iterator[Entry]:
    previous = seed
    for line in file:
        digest, _, text = line[:-1].partition(b" ")
        if not line.endswith(b"\n") or _chained(previous, text) != digest.decode("latin-1"):
            return
        previous = digest.decode("ascii")
        content = json.loads(text)
        yield Entry(content["row"], content["tar_end"], content["segment"], content["seconds"])
