"""What is read of a shard in the making comes from wherever its tar is long enough."""

from collections.abc import Callable
from pathlib import Path

import pytest

from sa_engine.dataset.folder.base import LocalFolder
from sa_engine.dataset.manifest import Manifest, open_output
from sa_engine.dataset.records import ImageRecord, Stage
from sa_engine.dataset.shards.unfinished import unfinished_shards
from sa_engine.dataset.shards.workspace import find_workspaces
from sa_engine.dataset.shards.writer import ShardWriter
from sa_engine.dataset.sources.source_list import Source

ImageOf = Callable[..., tuple[ImageRecord, bytes | None]]


def test_copies_that_are_not_as_long_yet_are_passed_over(tmp_path: Path, image_of: ImageOf) -> None:
    folder = LocalFolder(tmp_path / "d")
    plan = Manifest(stage=Stage.AUTOMATIC, num_images=6, images_per_shard=3)
    manifest = open_output(folder.path, plan, [Source(f"/p/{k}", f"{k}") for k in range(6)])
    assert unfinished_shards(folder, manifest) == {}
    with ShardWriter(folder.path, 1, manifest=manifest) as writer:
        for image_id in (4, 5):
            writer.add(*image_of(image_id, image_id))
        (work,) = find_workspaces(folder.scratch_files())
        data = work.tar.read_bytes()
        for number in range(12):
            other = folder.scratch / f"sa_000001.{number + 2}.0123456{number % 10}"
            other.mkdir()
            if number % 2:
                (other / "shard.tar").write_bytes(b"?" * 700)
        (shard,) = unfinished_shards(folder, manifest).values()
        assert (shard.shard_index, [row["image_id"] for row in shard.rows]) == (1, [4, 5])
        assert shard.read(folder, 0, len(data)) == data
        assert shard.read(folder, 600, 500) == data[600:1100]
        with pytest.raises(FileNotFoundError):
            shard.read(folder, 1, len(data))
