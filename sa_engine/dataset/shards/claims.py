"""Claims on shards: two live workers never write the same shard, a dead one's is taken over.

A claim is a file in the scratch folder, `sa_000000.lease.<n>`; of several, the highest n counts.
Claiming means making the next n, which only one worker can do. Numbers are never used again until
the shard is complete, so a worker that was asleep while another took over finds out by looking.

When may a claim be taken over?
* On the machine that holds it, the holder's lock on the file decides: the kernel drops it the
  moment the process dies, and keeps it while it lives, however slow it is.
* From another machine that sees the scratch folder, or where files cannot be locked, the age of
  the holder's heartbeat decides: a live holder touches its claim every BEAT_S seconds, and after
  STALE_S it counts as dead. Both times are the file server's, so clocks need not agree.

* Machines that share an object store alone see the claims of `shared_claims`, made beside these.

A holder that lost its claim all the same (a machine asleep for over a minute) is told so at its
next `check`, before it writes. Should it wake between check and write, it writes the same bytes to
the same place as its successor, since a shard's bytes do not depend on who makes it.
"""

import contextlib
import errno
import fcntl
import json
import math
import os
import platform
import re
import threading
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from sa_engine.dataset.folder.base import Folder, explain_write, open_folder
from sa_engine.dataset.folder.layout import SharedScratch
from sa_engine.dataset.shards.shared_claims import (
    SharedClaim,
    claim_shared,
    own_token,
    shared_holders,
)
from sa_engine.dataset.shards.stats import stats_name
from sa_engine.errors import LeaseLost, SaEngineError

STALE_S = 60.0
"""A holder on another machine counts as dead after this many seconds without a heartbeat."""
BEAT_S = 10.0
"""Seconds between heartbeats."""

_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)
_NAME = re.compile(r"^sa_(\d{6,})\.lease\.(\d+)$")


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds, or last held, a shard.

    host: the machine's name.
    pid: the process id there.
    age_s: seconds since the last heartbeat; infinite if it was given up.
    is_alive: whether the claim counts; otherwise anyone may take the shard.
    """

    shard_index: int
    host: str
    pid: int
    age_s: float
    is_alive: bool


class Lease:
    """A claim that is held; a context manager that gives it up. See `claim`."""

    def __init__(
        self,
        folder: Folder,
        shard_index: int,
        number: int,
        descriptor: int,
        beat_s: float,
        shared: SharedClaim | None = None,
    ) -> None:
        self._folder = folder
        self._index = shard_index
        self._number = number
        self._descriptor = descriptor
        self._path = _path(folder, shard_index, number)
        self._next = _path(folder, shard_index, number + 1)
        self._stop = threading.Event()
        self._beat_s = beat_s
        self._shared = shared
        self._thread = threading.Thread(target=self._beat, name=self._path.name, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()

    @property
    def shard_index(self) -> int:
        """The shard that is claimed."""
        return self._index

    def check(self) -> None:
        """Raise LeaseLost if the claim is no longer held."""
        lost = self._next.exists() or not self._is_there()
        if self._descriptor < 0 or lost or (self._shared is not None and self._shared.lost):
            raise LeaseLost(
                f"another worker has taken over shard {self._index} of {self._folder.url}: "
                "this one was silent for too long"
            )

    def _is_there(self) -> bool:
        # A shard that is made anew over an older one has its numbers used again.
        try:
            return os.path.samestat(os.fstat(self._descriptor), self._path.stat())
        except OSError:
            return False

    def release(self) -> None:
        """Give the claim up. Once the shard is complete its claims are removed."""
        if self._descriptor < 0:
            return
        self._stop.set()
        self._thread.join()
        with contextlib.suppress(OSError, SaEngineError):
            done = self._folder.size(stats_name(self._index)) is not None
            if self._shared is not None:
                self._shared.release(done=done)
            if done:
                # Those of higher number are a successor's.
                for number in _numbers(self._folder, self._index):
                    if number <= self._number:
                        _path(self._folder, self._index, number).unlink(missing_ok=True)
            else:
                # A beat of long ago: anyone may take the next number at once.
                os.utime(self._path, (0, 0))
        os.close(self._descriptor)
        self._descriptor = -1

    def _beat(self) -> None:
        while not self._stop.wait(self._beat_s):
            with contextlib.suppress(OSError):
                os.utime(self._descriptor)


def claim(
    root: str | os.PathLike[str],
    shard_index: int,
    *,
    redo: bool = False,
    stale_s: float = STALE_S,
    beat_s: float = BEAT_S,
) -> Lease | None:
    """Claim a shard that is not complete, or, to `redo` it, one that is.

    stale_s: silence after which a holder on another machine counts as dead, seconds.
    beat_s: seconds between heartbeats; well under everyone's `stale_s`.

    Returns None if a live worker holds it or there is nothing to do. Raises DatasetError if the
    scratch folder cannot be written.
    """
    folder = open_folder(root)
    with explain_write(folder.url):
        number = max(_numbers(folder, shard_index), default=0)
        if number:
            holder = _holder(folder, shard_index, number, stale_s, _Clock(folder))
            if holder is None or holder.is_alive:
                return None
        descriptor = _make(folder, shard_index, number + 1)
        if descriptor is None:
            return None
        shared = None
        if folder.shared is not None:
            # Alone on this machine; now among the others.
            shared = _claim_shared(folder, folder.shared, shard_index, stale_s, beat_s)
            if shared is None:
                _path(folder, shard_index, number + 1).unlink(missing_ok=True)
                os.close(descriptor)
                return None
        lease = Lease(folder, shard_index, number + 1, descriptor, beat_s, shared)
        # The shard may have been completed, and its claims removed, since they were listed.
        complete = folder.size(stats_name(shard_index)) is not None
        overtaken = max(_numbers(folder, shard_index), default=0) != number + 1
        if overtaken or (complete and not redo):
            lease.release()
            return None
        return lease


def holders(root: str | os.PathLike[str], *, stale_s: float = STALE_S) -> list[Holder]:
    """Who holds, or last held, each shard that is not complete; by shard."""
    folder = open_folder(root)
    newest: dict[int, int] = {}
    for path in folder.scratch_files():
        if match := _NAME.match(path.name):
            index, number = int(match[1]), int(match[2])
            newest[index] = max(number, newest.get(index, 0))
    clock = _Clock(folder)
    found = (_holder(folder, index, newest[index], stale_s, clock) for index in sorted(newest))
    here = [holder for holder in found if holder is not None]
    if folder.shared is None:
        return here
    return sorted(
        here + _elsewhere(folder, folder.shared, stale_s), key=lambda holder: holder.shard_index
    )


def _claim_shared(
    folder: Folder, shared: SharedScratch, shard_index: int, stale_s: float, beat_s: float
) -> SharedClaim | None:
    name, token = f"sa_{shard_index:06d}", own_token(folder.scratch)
    return claim_shared(shared, name, token, stale_s=stale_s, beat_s=beat_s)


def _elsewhere(folder: Folder, shared: SharedScratch, stale_s: float) -> list[Holder]:
    """Those who work in another scratch folder."""
    token = own_token(folder.scratch)
    return [
        Holder(
            int(match[1]),
            each.host,
            each.pid,
            math.inf if each.is_released else each.age_s,
            not each.is_released and each.age_s <= stale_s,
        )
        for each in shared_holders(shared)
        if each.token != token and (match := re.fullmatch(r"sa_(\d{6,})", each.name))
    ]


def _make(folder: Folder, shard_index: int, number: int) -> int | None:
    """Make a claim that is locked from its first moment; None if another worker was faster."""
    path = _path(folder, shard_index, number)
    temporary = folder.scratch / f"claim.{os.getpid()}.{os.urandom(4).hex()}.tmp"
    descriptor = os.open(temporary, _NEW, 0o644)
    try:
        _sign(descriptor)
        try:
            os.link(temporary, path)
        except FileExistsError:
            # A network file system may say so of the link it has just made, the first answer lost.
            if not os.path.samestat(os.fstat(descriptor), path.stat()):
                os.close(descriptor)
                return None
        except OSError as error:
            os.close(descriptor)
            if error.errno not in _NO_LINKS:
                raise
            return _make_without_links(path)
        return descriptor
    except FileNotFoundError:
        os.close(descriptor)
        return None
    finally:
        temporary.unlink(missing_ok=True)


def _make_without_links(path: Path) -> int | None:
    try:
        descriptor = os.open(path, _NEW, 0o644)
    except FileExistsError:
        return None
    _sign(descriptor)
    return descriptor


def _sign(descriptor: int) -> None:
    """Lock a claim if that is possible, and write who holds it."""
    locked = True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        locked = False
    owner = {
        "machine": _machine(),
        "host": platform.node(),
        "pid": os.getpid(),
        "locked": locked,
    }
    os.write(descriptor, json.dumps(owner).encode("ascii"))


def _holder(
    folder: Folder, shard_index: int, number: int, stale_s: float, clock: "_Clock"
) -> Holder | None:
    """Who made a claim, and whether it still counts; None if it has just been removed."""
    path = _path(folder, shard_index, number)
    now = clock.now()
    try:
        touched = path.stat().st_mtime
        content = json.loads(path.read_bytes())
        machine, host = str(content["machine"]), str(content["host"])
        pid, could_lock = int(content["pid"]), bool(content["locked"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        # A claim whose content was lost in a power cut: its age alone decides.
        machine, host, pid, could_lock = "", "unknown", 0, False
    age = float("inf") if touched <= 0 else max(0.0, now - touched)
    alive = age <= stale_s
    if machine == _machine() and could_lock and (locked := _is_locked(path)) is not None:
        # A child of the dead holder may keep the lock; such a claim is not beaten any more.
        alive = locked and (alive or _is_running(pid))
    return Holder(shard_index, host, pid, age, alive)


def _is_locked(path: Path) -> bool | None:
    """Whether a process of this machine has the claim locked; None if that cannot be told."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    except OSError:
        return None
    finally:
        os.close(descriptor)


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


class _Clock:
    """The file server's clock, looked at once."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._now: float | None = None

    def now(self) -> float:
        """Its time, as files get it."""
        if self._now is None:
            probe = self._folder.scratch / f"clock.{os.getpid()}.{os.urandom(4).hex()}.tmp"
            probe.touch()
            try:
                self._now = probe.stat().st_mtime
            finally:
                probe.unlink(missing_ok=True)
        return self._now


def _numbers(folder: Folder, shard_index: int) -> list[int]:
    prefix = f"sa_{shard_index:06d}.lease."
    with os.scandir(folder.scratch) as entries:
        names = [entry.name for entry in entries if entry.name.startswith(prefix)]
    return [int(name.removeprefix(prefix)) for name in names]


def _path(folder: Folder, shard_index: int, number: int) -> Path:
    return folder.scratch / f"sa_{shard_index:06d}.lease.{number}"


def _machine() -> str:
    """The running kernel: two processes with the same see each other's locks."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return platform.node()
