"""Images that killed the worker that had them in hand: counted, and in the end passed over.

A worker may also be killed from outside, which is no image's fault. Deaths by a fault of the
program (a segmentation fault, say) are blamed on the image; SIGKILL only if the kernel's
out-of-memory killer was at work meanwhile.
"""

import json
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sa_engine.dataset.folder.base import Folder, explain_write, write_synced
from sa_engine.pipelines.run.cgroups import ControlGroups

MAX_KILLS = 2
"""Workers that an image may kill before it is recorded as failed."""

KILLED_WORKER = "killed-worker"
"""The reason that stands in its record then."""

TIME_LIMIT = "time-limit"
"""The reason of one whose workers were stopped because it took them too long."""

_SLOW = "slow"

FAULTS = frozenset(
    {signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGILL, signal.SIGFPE, signal.SIGSYS}
)


class OutOfMemoryKills:
    """Whether the kernel's out-of-memory killer was at work since it was last asked."""

    def __init__(self) -> None:
        self._seen = oom_kills()

    def any_new(self) -> bool:
        """Asks, and remembers."""
        before, self._seen = self._seen, oom_kills()
        return self._seen > before


def is_fault(exit_code: int | None, oom_kills: OutOfMemoryKills) -> bool:
    """Whether a worker that ended with this exit code died of what it was doing.

    exit_code: as `multiprocessing` has it: negative for a signal.
    """
    if exit_code is None or exit_code >= 0:
        return True
    if -exit_code == signal.SIGKILL:
        return oom_kills.any_new()
    return -exit_code in FAULTS


@dataclass(frozen=True, slots=True)
class Blame:
    """What is known of the workers that died in a shard.

    kills: deaths by the image that was in hand; by 0 where that is not known.
    slow: images that took too long.
    """

    kills: Mapping[int, int] = field(default_factory=dict)
    slow: frozenset[int] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.kills)

    def verdict(self, image_id: int) -> str | None:
        """Why an image is passed over, "reason: message"; None for one that is to be tried."""
        if self.kills.get(image_id, 0) < MAX_KILLS:
            return None
        if image_id in self.slow:
            return f"{TIME_LIMIT}: it took {MAX_KILLS} workers longer than --image-timeout allows"
        return f"{KILLED_WORKER}: {MAX_KILLS} workers died with this image in hand"


def blame(folder: Folder, shard_index: int, image_id: int, *, is_slow: bool = False) -> None:
    """Count a death against the image that was in hand; 0 if there was none.

    is_slow: it died because it took too long.
    """
    known = read_blame(folder, shard_index)
    slow = known.slow | {image_id} if is_slow else known.slow - {image_id}
    deaths = {**known.kills, image_id: known.kills.get(image_id, 0) + 1}
    content: dict[str, object] = {str(each): count for each, count in deaths.items()}
    if slow:
        content[_SLOW] = sorted(slow)
    path = _path(folder, shard_index)
    temporary = path.with_suffix(".blame.tmp")
    with explain_write(path):
        write_synced(temporary, json.dumps(content).encode("ascii"))
        temporary.replace(path)


def read_blame(folder: Folder, shard_index: int) -> Blame:
    """Whom deaths in a shard are blamed on; nobody where there were none."""
    try:
        content = json.loads(_path(folder, shard_index).read_bytes())
        slow = frozenset(int(image_id) for image_id in content.pop(_SLOW, ()))
        return Blame({int(image_id): int(kills) for image_id, kills in content.items()}, slow)
    except FileNotFoundError:
        return Blame()
    except (ValueError, AttributeError, TypeError):
        # Half a file after a power cut: who died is not known, only that somebody did.
        return Blame({0: 1})


def forget_blame(folder: Folder, shard_index: int) -> None:
    """The shard is complete."""
    _path(folder, shard_index).unlink(missing_ok=True)


def _path(folder: Folder, shard_index: int) -> Path:
    return folder.scratch / f"sa_{shard_index:06d}.blame"


def oom_kills(groups: ControlGroups | None = None) -> int:
    """How many processes were killed for want of memory.

    Counted by the innermost control group that counts, so that a neighbour's deaths on the same
    machine are not taken for our own; else those of the whole machine. 0 where nobody says it.

    groups: None for those of this process.
    """
    for version, folder in (groups or ControlGroups()).folders("memory"):
        count = _counted(folder / ("memory.events" if version == 2 else "memory.oom_control"))
        if count is not None:
            return count
    return _counted(Path("/proc/vmstat")) or 0


def _counted(path: Path) -> int | None:
    """The number in a file's line "oom_kill"; None if it has none."""
    try:
        lines = path.read_text("ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), None)
