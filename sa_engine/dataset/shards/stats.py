"""A shard's stats file: written last, it marks the shard complete and vouches for its files."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sa_engine.dataset.folder.base import Folder
from sa_engine.dataset.folder.sealed import seal, unseal
from sa_engine.dataset.manifest import Manifest
from sa_engine.errors import DamagedError

_STATS = re.compile(r"^sa_(\d{6}|[1-9]\d{6,})_stats\.json$")


@dataclass(frozen=True, slots=True)
class FileSum:
    """A file's length in bytes and hex SHA-256."""

    num_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardStats:
    """Counts of a complete shard.

    num_images: rows, failures included.
    num_failed: failures by reason.
    num_masks: masks of all images.
    seconds: time spent on the images, all attempts that counted.
    tar, parquet: what the shard's files must be.
    """

    shard_index: int
    first_image_id: int
    num_images: int
    num_failed: Mapping[str, int] = field(default_factory=dict)
    num_masks: int
    seconds: float
    tar: FileSum
    parquet: FileSum

    @property
    def num_ok(self) -> int:
        """Images that went through."""
        return self.num_images - sum(self.num_failed.values())


def tar_name(shard_index: int) -> str:
    """The shard's tar, "sa_000000.tar"."""
    return f"sa_{shard_index:06d}.tar"


def parquet_name(shard_index: int) -> str:
    """The shard's Parquet file, "sa_000000.parquet"."""
    return f"sa_{shard_index:06d}.parquet"


def stats_name(shard_index: int) -> str:
    """The shard's stats, "sa_000000_stats.json"."""
    return f"sa_{shard_index:06d}_stats.json"


def failure_reason(error: str | None) -> str:
    """The counting word of an ImageRecord's `error`, which is "reason: message"."""
    return (error or "unknown").partition(":")[0]


def encode_stats(stats: ShardStats) -> bytes:
    """The content of the stats file."""
    return seal(
        {
            "shard_index": stats.shard_index,
            "first_image_id": stats.first_image_id,
            "num_images": stats.num_images,
            "num_ok": stats.num_ok,
            "num_failed": dict(stats.num_failed),
            "num_masks": stats.num_masks,
            "seconds": stats.seconds,
            "files": {
                name(stats.shard_index): {"bytes": sums.num_bytes, "sha256": sums.sha256}
                for name, sums in ((tar_name, stats.tar), (parquet_name, stats.parquet))
            },
        }
    )


def read_stats(folder: Folder, shard_index: int) -> ShardStats | None:
    """The stats of a shard; None if it is not complete. DamagedError if the file is damaged."""
    name = stats_name(shard_index)
    try:
        data = folder.read(name)
    except FileNotFoundError:
        return None
    content = unseal(data, name=f"{folder.url}/{name}")
    try:
        files: dict[str, Any] = content["files"]
        tar, parquet = (
            FileSum(files[each]["bytes"], files[each]["sha256"])
            for each in (tar_name(shard_index), parquet_name(shard_index))
        )
        stats = ShardStats(
            shard_index=content["shard_index"],
            first_image_id=content["first_image_id"],
            num_images=content["num_images"],
            num_failed=content["num_failed"],
            num_masks=content["num_masks"],
            seconds=content["seconds"],
            tar=tar,
            parquet=parquet,
        )
        if content["num_ok"] != stats.num_ok:
            raise DamagedError(
                f"{folder.url}/{name} says {content['num_ok']} images went through, its other "
                f"counts say {stats.num_ok}"
            )
        return stats
    except (KeyError, TypeError) as error:
        raise DamagedError(f"{folder.url}/{name} lacks {error}") from error


def complete_shards(folder: Folder, manifest: Manifest) -> list[int]:
    """Indices of the shards that are complete, in order."""
    found = (_STATS.match(name) for name in folder.names())
    indices = sorted(int(match[1]) for match in found if match is not None)
    return [index for index in indices if index < manifest.num_shards]
