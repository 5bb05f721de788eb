"""Looking into shards that are being made: the images that are finished there already."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sa_engine.dataset.folder.base import Folder, read_range
from sa_engine.dataset.manifest import Manifest
from sa_engine.dataset.shards.stats import tar_name
from sa_engine.dataset.shards.workspace import find_workspaces
from sa_engine.dataset.shards.writer import journaled


@dataclass(frozen=True, slots=True)
class UnfinishedShard:
    """What of a shard was finished when it was looked at.

    rows: of its first images, in order, without their masks (`rows.LIGHT_COLUMNS`).
    """

    shard_index: int
    rows: tuple[Mapping[str, Any], ...]

    def read(self, folder: Folder, offset: int, size: int) -> bytes:
        """Bytes of its growing tar, wherever that lies by now; fewer if it was begun again.

        Raises FileNotFoundError if it is gone.
        """
        for work in find_workspaces(folder.scratch_files(), self.shard_index):
            # One that takes over copies the other's tar before it is as long.
            if work.tar.exists() and os.stat(work.tar).st_size >= offset + size:  # noqa: PTH116
                return read_range(work.tar, offset, size)
        return folder.read_range(tar_name(self.shard_index), offset, size)


def unfinished_shards(folder: Folder, manifest: Manifest) -> dict[int, UnfinishedShard]:
    """The shards that are not complete and hold a finished image, by index.

    Of a store, those that are made on this machine.
    """
    return {
        index: UnfinishedShard(index, tuple(entry.row for entry in entries))
        for index, entries in sorted(journaled(folder.url, manifest).items())
        if entries
    }
