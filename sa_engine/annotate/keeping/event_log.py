"""Writing the journal: an event is acknowledged once it is on the disk."""

import os
import queue
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sa_engine.dataset.folder.base import sync_folder
from sa_engine.formats.work.log import JOURNAL, JournalEvent, history_files, read_journal, spell

_Item = tuple[Mapping[str, Any], "Future[JournalEvent]"]


class EventLog:
    """The journal of a WORK, open for appending by one thread of its own.

    Each start begins a new file; no file is ever rewritten. What a killed server left behind the
    last whole line is moved aside, as 000001.torn.

    work: the folder; its journal must have been read before (`first`, `before` are its ends).
    first: the number of the next event. before: digest of the last line.
    """

    def __init__(self, work: Path, *, first: int, before: str) -> None:
        folder = work / JOURNAL
        _set_torn_aside(folder)
        number = len(history_files(folder)) + 1
        self._path = folder / f"{number:06d}.log"
        self._descriptor = os.open(
            self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o644
        )
        sync_folder(folder)
        self._next, self._before, self._size = first, before, 0
        self._queue: queue.SimpleQueue[_Item | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    @classmethod
    def resume(cls, work: Path) -> Self:
        """The journal of a WORK after what is in it."""
        history = read_journal(work)
        last = max((int(event["n"]) for event in history.events), default=0)
        return cls(work, first=last + 1, before=history.last)

    def append(self, content: Mapping[str, Any]) -> "Future[JournalEvent]":
        """Write an event; "n" and "at" are added.

        The future has the event once it is durable, or OSError if it could not be written: then
        nothing of it is in the journal.
        """
        done: Future[JournalEvent] = Future()
        self._queue.put((content, done))
        return done

    def close(self) -> None:
        """Write what was given, and close."""
        self._queue.put(None)
        self._thread.join()
        os.close(self._descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _run(self) -> None:
        is_open = True
        while is_open:
            items = [self._queue.get()]
            while not self._queue.empty():
                items.append(self._queue.get())
            is_open = None not in items
            self._write([item for item in items if item is not None])

    def _write(self, items: list[_Item]) -> None:
        """All events that wait, with one sync."""
        lines, events = [], []
        before, number = self._before, self._next
        for content, _ in items:
            event = {**content, "n": number, "at": round(time.time(), 3)}
            line, before = spell(event, before)
            lines.append(line)
            events.append(event)
            number += 1
        data = b"".join(lines)
        try:
            _write_all(self._descriptor, data)
            os.fdatasync(self._descriptor)
        except OSError as error:
            self._take_back(error, items)
            return
        self._before, self._next, self._size = before, number, self._size + len(data)
        for event, (_, done) in zip(events, items, strict=True):
            done.set_result(event)

    def _take_back(self, error: OSError, items: list[_Item]) -> None:
        """Nobody is told of half a line. Of several events each gets its own chance."""
        os.ftruncate(self._descriptor, self._size)
        if len(items) == 1:
            items[0][1].set_exception(error)
            return
        for item in items:
            self._write([item])


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _set_torn_aside(folder: Path) -> None:
    """Cut what follows the last newline off every file, and keep it beside."""
    for name in history_files(folder):
        path = folder / name
        data = path.read_bytes()
        end = data.rfind(b"\n") + 1
        if end < len(data):
            with path.with_suffix(".torn").open("ab") as file:
                file.write(data[end:])
                file.flush()
                os.fsync(file.fileno())
            os.truncate(path, end)
