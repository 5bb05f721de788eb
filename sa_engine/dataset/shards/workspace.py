"""Where one claim on a shard is worked under: a folder that whoever takes over takes away.

`.work/sa_000000.<claim>.<random>/` holds the growing tar and its journal and, at the end, the
Parquet file and the stats; they are renamed from there to their final names.

This fences a worker that was frozen (a stopped process, a suspended machine, a stalled file server)
until it counted as dead, and then goes on. Its successor first renames its folder. From then on no
name in it leads anywhere: the frozen worker can make no file and name none as finished, however far
it had come, for both need the folder. Files that it still has open are copied from, and never
renamed to a final name.
"""

import contextlib
import os
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_NAME = re.compile(r"^sa_(\d{6,})\.(\d+)\.[0-9a-f]{8}$")


@dataclass(frozen=True, slots=True)
class Workspace:
    """The folder of one claim.

    number: of the claim; whoever has a higher one takes the folder away.
    """

    path: Path
    shard_index: int
    number: int

    @property
    def tar(self) -> Path:
        """The growing tar; not here any more once it has its final name."""
        return self.path / "shard.tar"

    @property
    def journal(self) -> Path:
        """The line of every finished image, see `journal`."""
        return self.path / "journal"

    @property
    def parquet(self) -> Path:
        """The rows, written when all images are there."""
        return self.path / "rows.parquet"

    @property
    def stats(self) -> Path:
        """The stats, written last."""
        return self.path / "stats.json"

    @property
    def old_stats(self) -> Path:
        """Those of the shard that is replaced: without them it counts as unfinished."""
        return self.path / "old_stats.json"

    def remove(self) -> None:
        """Delete it with all that it holds."""
        shutil.rmtree(self.path, ignore_errors=True)


def open_workspace(
    scratch: Path, shard_index: int, number: int | None
) -> tuple[Workspace, list[Workspace]]:
    """A new workspace, and those that were there: taken away from their claims, to be read.

    number: of the claim that is held; None for one above all that are there.

    Raises OSError if it cannot be made.
    """
    if number is None:
        there = find_workspaces(scratch.iterdir(), shard_index)
        number = max((each.number for each in there), default=0) + 1
    own = _named(scratch, shard_index, number)
    # Before the others are taken away: of two folders under one claim, neither is trusted to be
    # the only one that somebody writes to.
    own.path.mkdir()
    left = []
    for other in find_workspaces(scratch.iterdir(), shard_index):
        if other.path != own.path and other.number <= number:
            taken = _named(scratch, shard_index, number)
            with contextlib.suppress(FileNotFoundError):
                other.path.rename(taken.path)
                left.append(taken)
    return own, left


def find_workspaces(paths: Iterable[Path], shard_index: int | None = None) -> list[Workspace]:
    """The workspaces among some paths, of one shard or of all."""
    found = []
    for path in paths:
        if (match := _NAME.match(path.name)) and shard_index in (None, int(match[1])):
            found.append(Workspace(path, int(match[1]), int(match[2])))
    return found


def _named(scratch: Path, shard_index: int, number: int) -> Workspace:
    # A name of its own even where claims were removed and their numbers are given again.
    name = f"sa_{shard_index:06d}.{number}.{os.urandom(4).hex()}"
    return Workspace(scratch / name, shard_index, number)
