"""Claims that machines see which share an object store and no file system.

On one machine the claims of `leases` decide, in the scratch folder; a worker that has one of those
makes a claim here too, an object `<name>.lease.<n>` of which the highest n counts. Making one is a
conditional write, so of several workers one succeeds. Its holder writes it again every `beat_s`
seconds, and a claim that somebody else has seen unchanged for `stale_s` seconds is dead, by his own
clock: clocks need not agree.

Where a store takes conditional writes for plain ones, two workers that claim at the same moment
both read the claim back, and one of them finds the other's. At worst both make the same shard: its
bytes do not depend on who makes it, and each object appears whole.
"""

import contextlib
import json
import os
import platform
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sa_engine.dataset.folder.files import exclusive, explain_write
from sa_engine.dataset.folder.layout import SharedScratch
from sa_engine.errors import SaEngineError

STALE_S = 60.0
"""A claim that was not renewed for so many seconds may be taken over."""
BEAT_S = 10.0
"""Seconds between renewals."""

_LEASE = ".lease."
_ID_NAME = "id"


@dataclass(frozen=True, slots=True)
class SharedHolder:
    """Who holds, or last held, what is named.

    token: of the scratch folder that the holder works in.
    age_s: seconds since the claim was renewed, by this machine's clock.
    """

    name: str
    host: str
    pid: int
    token: str
    age_s: float
    is_released: bool


class SharedClaim:
    """A claim that is held until `release`. See `claim_shared`."""

    def __init__(
        self, shared: SharedScratch, name: str, number: int, owner: "_Owner", beat_s: float
    ) -> None:
        self._shared, self._name, self._number, self._owner = shared, name, number, owner
        self._beat_s = beat_s
        self._lost = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name=f"{name} claim", daemon=True)
        self._thread.start()

    @property
    def lost(self) -> bool:
        """Whether another worker is known to have taken over."""
        return self._lost

    def look(self) -> None:
        """Ask the store whether another worker has taken over. Raises what the store raises."""
        if max(_numbers(self._shared, self._name), default=0) != self._number:
            self._lost = True
        elif _owner_of(self._shared, self._name, self._number)[0] != self._owner:
            # Two made it at once, in a store that let both.
            self._lost = True

    def release(self, *, done: bool) -> None:
        """Give it up; once what was claimed is `done`, nothing of it stays."""
        self._stop.set()
        self._thread.join()
        if self._lost:
            return
        with contextlib.suppress(OSError, SaEngineError):
            if done:
                for number in _numbers(self._shared, self._name):
                    # Those of higher number are a successor's.
                    if number <= self._number:
                        self._shared.remove(_file_name(self._name, number))
            else:
                self._shared.write(
                    _file_name(self._name, self._number), self._owner.text(-1, released=True)
                )

    def _beat(self) -> None:
        count = 0
        while not self._stop.wait(self._beat_s):
            with contextlib.suppress(OSError, SaEngineError):
                self.look()
                if self._lost:
                    return
                count += 1
                self._shared.write(
                    _file_name(self._name, self._number), self._owner.text(count, released=False)
                )


def claim_shared(
    shared: SharedScratch,
    name: str,
    token: str,
    *,
    stale_s: float = STALE_S,
    beat_s: float = BEAT_S,
) -> SharedClaim | None:
    """Claim a name, or None if somebody alive holds it.

    token: of the own scratch folder. Whoever asks has the local claim already, so a claim with the
        same token is that of a process which has ended.

    Raises what the store raises when it cannot be written.
    """
    heads = shared.heads(name + _LEASE)
    number = max((_number_of(each) for each in heads), default=0)
    if number:
        try:
            owner, is_released = _owner_of(shared, name, number)
        except FileNotFoundError:
            return None
        version = heads[_file_name(name, number)].version
        ended = is_released or owner.token == token
        if not ended and not _is_silent(shared.url, name, f"{number} {version}", stale_s):
            return None
    me = _Owner(platform.node(), os.getpid(), token, os.urandom(8).hex())
    place = _file_name(name, number + 1)
    with explain_write(f"{shared.url}/{place}"):
        if not shared.create(place, me.text(0, released=False)):
            return None
        if _owner_of(shared, name, number + 1)[0] != me:
            return None
        for older in heads:
            shared.remove(older)
    return SharedClaim(shared, name, number + 1, me, beat_s)


@contextlib.contextmanager
def hold(shared: SharedScratch, name: str, token: str) -> Iterator[None]:
    """Wait for a claim and hold it inside."""
    while (claim := claim_shared(shared, name, token)) is None:
        time.sleep(1.0)
    try:
        yield
    finally:
        claim.release(done=True)


def shared_holders(shared: SharedScratch) -> list[SharedHolder]:
    """Who holds, or last held, each name, in the order of the names."""
    newest: dict[str, tuple[int, float]] = {}
    for place, head in shared.heads().items():
        name, number = place.partition(_LEASE)[0], _number_of(place)
        if number > newest.get(name, (0, 0.0))[0]:
            newest[name] = number, head.age_s
    holders = []
    for name, (number, age_s) in sorted(newest.items()):
        with contextlib.suppress(FileNotFoundError):
            owner, is_released = _owner_of(shared, name, number)
            holders.append(
                SharedHolder(name, owner.host, owner.pid, owner.token, age_s, is_released)
            )
    return holders


def own_token(scratch: Path) -> str:
    """The name of a scratch folder that no other has, wherever it lies."""
    path = scratch / _ID_NAME
    with explain_write(path), exclusive(scratch / f"{_ID_NAME}.lock"):
        token = path.read_text("ascii", "replace") if path.exists() else ""
        if not token:
            token = os.urandom(16).hex()
            path.write_text(token, "ascii")
    return token


@dataclass(frozen=True, slots=True)
class _Owner:
    """Who made a claim; `nonce` tells two claims of one process apart."""

    host: str
    pid: int
    token: str
    nonce: str

    def text(self, beat: int, *, released: bool) -> bytes:
        content = {
            "host": self.host,
            "pid": self.pid,
            "token": self.token,
            "nonce": self.nonce,
            "beat": beat,
            "released": released,
        }
        return json.dumps(content).encode("ascii")


def _owner_of(shared: SharedScratch, name: str, number: int) -> tuple[_Owner, bool]:
    """Who made a claim, and whether he gave it up. FileNotFoundError if it is gone."""
    try:
        content = json.loads(shared.read(_file_name(name, number)))
        owner = _Owner(
            str(content["host"]),
            int(content["pid"]),
            str(content["token"]),
            str(content["nonce"]),
        )
        return owner, bool(content["released"])
    except (ValueError, KeyError, TypeError):
        # Not the engine's writing: it counts until it is silent.
        return _Owner("unknown", 0, "", ""), False


_seen: dict[tuple[str, str], tuple[str, float]] = {}


def _is_silent(url: str, name: str, version: str, stale_s: float) -> bool:
    """Whether this process has seen the same version for `stale_s` seconds."""
    now = time.monotonic()
    known, since = _seen.get((url, name), ("", now))
    if known != version:
        since = now
    _seen[url, name] = version, since
    return now - since >= stale_s


def _numbers(shared: SharedScratch, name: str) -> list[int]:
    return [_number_of(each) for each in shared.heads(name + _LEASE)]


def _number_of(place: str) -> int:
    number = place.rpartition(".")[2]
    return int(number) if number.isdigit() else 0


def _file_name(name: str, number: int) -> str:
    return f"{name}{_LEASE}{number}"
