"""Embeddings on request: a queue by urgency before the one process that makes them."""

import heapq
import itertools
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from multiprocessing.connection import Connection
from pathlib import Path

from sa_engine.annotate.models.encode_job import Job, Outcome
from sa_engine.annotate.models.frames import ModelFrame, trim_cache

_TRIES = 2
_TRIM_EVERY = 64


class Urgency(IntEnum):
    """Who waits for an embedding; the smallest goes first."""

    OPENED = 0
    FRAME = 1
    NEXT = 2


@dataclass(frozen=True, slots=True)
class EncoderModel:
    """The model that encodes: its file, digest, device and precision as `Predictor` has them."""

    path: Path
    sha256: str
    device: str
    precision: str


class Encoding:
    """Asks for embeddings and says which are there. For several threads.

    cache: the folder of embeddings. limit_bytes: of all of them on disk.
    """

    def __init__(self, cache: Path, *, limit_bytes: int) -> None:
        self.cache = cache
        self._limit_bytes = limit_bytes
        self._lock = threading.Condition()
        self._heap: list[tuple[int, int, Job]] = []
        self._wanted: dict[ModelFrame, int] = {}
        self._failed: dict[ModelFrame, str] = {}
        self._count = itertools.count()
        self._is_open = True
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: Connection | None = None
        self._made = 0
        self.last_cpu_s: float | None = None
        self._thread = threading.Thread(target=self._run, name="encoding", daemon=True)
        self._thread.start()

    def is_ready(self, frame: ModelFrame) -> bool:
        """Whether the frame's embedding is on disk."""
        return frame.path(self.cache).is_file()

    def failure(self, frame: ModelFrame) -> str | None:
        """Why the frame has no embedding, once it was tried in vain."""
        return self._failed.get(frame)

    def want(
        self, frame: ModelFrame, make: Callable[[Path], Job], urgency: Urgency = Urgency.OPENED
    ) -> bool:
        """Ask for a frame; whether it is there already. make: its job, given the target."""
        if self.is_ready(frame):
            return True
        with self._lock:
            if frame in self._failed or self._wanted.get(frame, 99) <= urgency:
                return False
            self._wanted[frame] = urgency
            job = make(frame.path(self.cache))
            heapq.heappush(self._heap, (int(urgency), next(self._count), job))
            self._lock.notify()
        return False

    def forget(self, frame: ModelFrame) -> None:
        """Make an embedding anew whose file turned out to be none."""
        frame.path(self.cache).unlink(missing_ok=True)
        with self._lock:
            self._wanted.pop(frame, None)

    def waiting(self) -> int:
        """How many frames were asked for and are not there."""
        with self._lock:
            return len(self._wanted)

    def close(self) -> None:
        """Stop; what is being made is given up."""
        with self._lock:
            self._is_open = False
            self._lock.notify()
        self._end_process()
        self._thread.join(timeout=5)

    def pid(self) -> int | None:
        """The encoder's process, once there is one."""
        return None if self._process is None else self._process.pid

    def _run(self) -> None:
        while True:
            with self._lock:
                while self._is_open and not self._heap:
                    self._lock.wait()
                if not self._is_open:
                    return
                _, _, job = heapq.heappop(self._heap)
                if job.frame not in self._wanted:
                    continue
            error = None if self.is_ready(job.frame) else self._encode(job)
            with self._lock:
                self._wanted.pop(job.frame, None)
                if error is not None:
                    self._failed[job.frame] = error
            self._made += 1
            if self._made % _TRIM_EVERY == 0:
                trim_cache(self.cache, self._limit_bytes)

    def _encode(self, job: Job) -> str | None:
        """Why it did not work; None if it did."""
        for _ in range(_TRIES):
            if not self._is_open:
                return "the server stops"
            try:
                made = self._ask(job)
            except (EOFError, OSError):
                # The process has died (out of memory, say): another, and once more.
                self._end_process()
                continue
            self.last_cpu_s = made.cpu_s
            return made.error
        return "the encoder died of it twice"

    def _ask(self, job: Job) -> Outcome:
        if self._pipe is None:
            ours, theirs = socket.socketpair()
            self._process = subprocess.Popen(
                [sys.executable, "-m", "sa_engine.annotate.models.encoder", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
            )
            theirs.close()
            self._pipe = Connection(ours.detach())
        self._pipe.send(job)
        made = self._pipe.recv()
        assert isinstance(made, Outcome)
        return made

    def _end_process(self) -> None:
        pipe, process = self._pipe, self._process
        self._pipe = self._process = None
        if process is not None:
            process.kill()
            process.wait()
        if pipe is not None:
            pipe.close()
