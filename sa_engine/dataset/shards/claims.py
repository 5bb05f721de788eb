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
next `check`. Should it wake between that and what it does next, it finds that its successor has
taken away what it was working on (see `workspace`).
"""

import contextlib
import errno
import math
import os
import re
import threading
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from sa_engine.dataset.folder.base import Folder, explain_write, open_folder
from sa_engine.dataset.folder.layout import SharedScratch
from sa_engine.dataset.shards.liveness import file_time, owner_of, sign
from sa_engine.dataset.shards.shared_claims import (
    SharedClaim,
    claim_shared,
    own_token,
    shared_holders,
)
from sa_engine.dataset.shards.stats import stats_name
from sa_engine.errors import DatasetError, LeaseLost, SaEngineError

STALE_S = 60.0
"""A holder on another machine counts as dead after this many seconds without a heartbeat."""
BEAT_S = 10.0
"""Seconds between heartbeats."""

_TRIES = 3

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
        is_lost = isinstance(error, DatasetError) and self._is_lost()
        self.release()
        if is_lost and not isinstance(error, LeaseLost):
            # What another worker has taken away or replaced meanwhile is no damage.
            raise self._lost() from error

    @property
    def shard_index(self) -> int:
        """The shard that is claimed."""
        return self._index

    @property
    def number(self) -> int:
        """Of the claim: the highest one counts."""
        return self._number

    def check(self) -> None:
        """Raise LeaseLost if the claim is no longer held."""
        if self._is_lost():
            raise self._lost()

    def confirm(self) -> None:
        """`check`, after a look at the store: before anything gets its final name."""
        if self._shared is not None:
            with explain_write(self._folder.url):
                self._shared.look()
        self.check()

    def _is_lost(self) -> bool:
        if self._descriptor < 0 or (self._shared is not None and self._shared.lost):
            return True
        return self._next.exists() or not self._is_there()

    def _lost(self) -> LeaseLost:
        return LeaseLost(
            f"another worker has taken over shard {self._index} of {self._folder.url}: "
            "this one was silent for too long"
        )

    def _is_there(self) -> bool:
        # A shard that is made again over an older one has its numbers used again.
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
            if done and self._is_there():
                # Those of higher number are a successor's.
                for number in _numbers(self._folder, self._index):
                    if number <= self._number:
                        _path(self._folder, self._index, number).unlink(missing_ok=True)
            else:
                # A beat of long ago: anyone may take the next number at once.
                os.utime(self._descriptor, (0, 0))
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
        for _ in range(_TRIES):
            with contextlib.suppress(FileNotFoundError):
                return _claim(folder, shard_index, redo, stale_s, beat_s)
        return _claim(folder, shard_index, redo, stale_s, beat_s)


def _claim(
    folder: Folder, shard_index: int, redo: bool, stale_s: float, beat_s: float
) -> Lease | None:
    """FileNotFoundError if the scratch folder was cleared meanwhile, the dataset being complete."""
    number = max(_numbers(folder, shard_index), default=0)
    if number:
        path = _path(folder, shard_index, number)
        owner = owner_of(path, file_time(folder.scratch), stale_s)
        if owner is None or owner.is_alive:
            return None
    descriptor = _make(folder, shard_index, number + 1)
    if descriptor is None:
        return None
    shared, is_alone = None, folder.shared is None
    try:
        if folder.shared is not None:
            # Alone on this machine; now among the others.
            shared = _claim_shared(folder, folder.shared, shard_index, stale_s, beat_s)
            is_alone = shared is not None
    finally:
        if not is_alone:
            os.close(descriptor)
            _path(folder, shard_index, number + 1).unlink(missing_ok=True)
    if not is_alone:
        return None
    lease = Lease(folder, shard_index, number + 1, descriptor, beat_s, shared)
    is_wanted = False
    try:
        # The shard may have been completed, and its claims removed, since they were listed.
        complete = folder.size(stats_name(shard_index)) is not None
        overtaken = max(_numbers(folder, shard_index), default=0) != number + 1
        is_wanted = not overtaken and (redo or not complete)
    finally:
        if not is_wanted:
            lease.release()
    return lease if is_wanted else None


def holders(root: str | os.PathLike[str], *, stale_s: float = STALE_S) -> list[Holder]:
    """Who holds, or last held, each shard that is not complete; by shard."""
    folder = open_folder(root)
    newest: dict[int, int] = {}
    for path in folder.scratch_files():
        if match := _NAME.match(path.name):
            index, number = int(match[1]), int(match[2])
            newest[index] = max(number, newest.get(index, 0))
    now = file_time(folder.scratch) if newest else 0.0
    here = []
    for index, number in sorted(newest.items()):
        owner = owner_of(_path(folder, index, number), now, stale_s)
        if owner is not None:
            here.append(Holder(index, owner.host, owner.pid, owner.age_s, owner.is_alive))
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
    temporary = folder.scratch / f"claim.{os.urandom(8).hex()}.tmp"
    descriptor = os.open(temporary, _NEW, 0o644)
    made = False
    try:
        sign(descriptor)
        try:
            os.link(temporary, path)
            made = True
        except FileExistsError:
            # A network file system may say so of the link it has just made, the first answer lost.
            made = os.path.samestat(os.fstat(descriptor), path.stat())
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            return _make_without_links(path)
        return descriptor if made else None
    finally:
        if not made:
            os.close(descriptor)
        with contextlib.suppress(OSError):
            temporary.unlink()


def _make_without_links(path: Path) -> int | None:
    try:
        descriptor = os.open(path, _NEW, 0o644)
    except FileExistsError:
        return None
    sign(descriptor)
    return descriptor


def _numbers(folder: Folder, shard_index: int) -> list[int]:
    prefix = f"sa_{shard_index:06d}.lease."
    with os.scandir(folder.scratch) as entries:
        names = [entry.name for entry in entries if entry.name.startswith(prefix)]
    return [int(name.removeprefix(prefix)) for name in names]


def _path(folder: Folder, shard_index: int, number: int) -> Path:
    return folder.scratch / f"sa_{shard_index:06d}.lease.{number}"
