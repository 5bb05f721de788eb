"""Whether whoever made a claim is alive: by the lock on its file, else by its heartbeat."""

import fcntl
import json
import os
import platform
import time
from dataclasses import dataclass
from pathlib import Path

_watched: dict[Path, tuple[float, float]] = {}
"""Claims that are dated ahead: their date, and when this process first saw it."""


@dataclass(frozen=True, slots=True)
class Owner:
    """Who made a claim.

    age_s: seconds since the last heartbeat; infinite if it was given up.
    is_alive: whether the claim counts.
    """

    host: str
    pid: int
    age_s: float
    is_alive: bool


def sign(descriptor: int) -> None:
    """Lock a claim that was just made, if that is possible, and write who holds it."""
    locked = True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        locked = False
    owner = {
        "machine": _machine(),
        "processes": _process_space(),
        "host": platform.node(),
        "pid": os.getpid(),
        "locked": locked,
    }
    os.write(descriptor, json.dumps(owner).encode("ascii"))


def owner_of(path: Path, now: float, stale_s: float) -> Owner | None:
    """Who made a claim, and whether it still counts; None if it has just been removed.

    now: by the file server's clock.
    stale_s: silence after which a holder on another machine counts as dead, seconds.
    """
    try:
        touched = path.stat().st_mtime
        content = json.loads(path.read_bytes())
        machine, space = str(content["machine"]), str(content.get("processes"))
        host, pid = str(content["host"]), int(content["pid"])
        could_lock = bool(content["locked"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError):
        # A claim whose content was lost in a power cut: its age alone decides.
        machine, space, host, pid, could_lock = "", "", "unknown", 0, False
    age = float("inf") if touched <= 0 else _age(path, touched, now)
    alive = age <= stale_s
    if machine == _machine() and could_lock and (locked := _is_locked(path)) is not None:
        # A child of the dead holder may keep the lock; such a claim is not beaten any more.
        # Of a container's processes, others do not know whether one of that id is running.
        alive = locked and (alive or (space == _process_space() and _is_running(pid)))
    return Owner(host, pid, age, alive)


def file_time(folder: Path) -> float:
    """The file server's clock, as new files in a folder get it."""
    probe = folder / f"clock.{os.urandom(8).hex()}.tmp"
    probe.touch()
    try:
        return probe.stat().st_mtime
    finally:
        probe.unlink(missing_ok=True)


def _age(path: Path, touched: float, now: float) -> float:
    """Seconds since a heartbeat; where it is dated ahead, since this process first saw it."""
    if touched <= now:
        _watched.pop(path, None)
        return now - touched
    seen = time.monotonic()
    date, since = _watched.get(path, (touched, seen))
    if date != touched:
        since = seen
    _watched[path] = touched, since
    return seen - since


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


def _machine() -> str:
    """The running kernel: two processes with the same see each other's locks."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return platform.node()


def _process_space() -> str:
    """Where process ids mean the same; containers have one each."""
    try:
        return os.fspath(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""
