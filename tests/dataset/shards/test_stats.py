"""Which shards are complete, by the names of their stats."""

from collections.abc import Callable
from pathlib import Path

from sa_engine.dataset.folder.base import LocalFolder
from sa_engine.dataset.manifest import read_manifest
from sa_engine.dataset.shards.stats import complete_shards, stats_name

Maker = Callable[..., Path]


def test_stats_of_shards_that_the_dataset_has_not_count_for_nothing(
    tmp_path: Path, make_dataset: Maker
) -> None:
    folder = LocalFolder(make_dataset(tmp_path / "d", range(10), images_per_shard=4))
    manifest = read_manifest(folder)
    data = folder.read(stats_name(0))
    for name in (stats_name(3), stats_name(1_234_567), "sa_1_stats.json", "sa_0000001_stats.json"):
        (folder.path / name).write_bytes(data)
    assert complete_shards(folder, manifest) == [0, 1, 2]
    (folder.path / stats_name(1)).unlink()
    assert complete_shards(folder, manifest) == [0, 2]
