"""Images that are taken over from a complete shard into one that is made anew."""

from collections.abc import Callable
from pathlib import Path

import pytest

from sa_engine.dataset.folder.base import LocalFolder
from sa_engine.dataset.manifest import Manifest, open_output, read_manifest
from sa_engine.dataset.records import ImageRecord, Stage
from sa_engine.dataset.shards.finished import FinishedShard
from sa_engine.dataset.shards.writer import ShardWriter, discard_shard
from sa_engine.dataset.sources.source_list import Source
from sa_engine.errors import DamagedError

Maker = Callable[..., Path]
ImageOf = Callable[..., tuple[ImageRecord, bytes | None]]

FILES = ("sa_000001.tar", "sa_000001.parquet")


@pytest.fixture
def out(tmp_path: Path, make_dataset: Maker) -> Path:
    """Two shards of six; of the second, images 7 to 12, the fourth has failed."""
    return make_dataset(tmp_path / "d", range(12), images_per_shard=6)


def second_shard(out: Path) -> FinishedShard:
    folder = LocalFolder(out)
    return FinishedShard(folder, read_manifest(folder), 1)


def test_images_are_the_same_wherever_they_come_to_lie(
    out: Path, tmp_path: Path, image_of: ImageOf
) -> None:
    source = "photo 009.png"
    other, data = image_of(10, 3, num_masks=5, source=source)
    sources = [Source(f"/photos/photo {k:03d}.png", f"photo {k:03d}.png") for k in range(12)]
    plan = Manifest(stage=Stage.AUTOMATIC, num_images=12, images_per_shard=6)
    with ShardWriter(
        tmp_path / "new", 1, manifest=open_output(tmp_path / "new", plan, sources)
    ) as writer:
        for image_id in range(7, 13):
            writer.add(*((other, data) if image_id == 10 else image_of(image_id, image_id - 1)))
        writer.finish()
    finished = second_shard(out)
    finished.check()
    assert (finished.first_image_id, finished.failed) == (7, [10])
    assert finished.row(10)["error"] == "truncated: the file ends too early"
    finished.add_seconds(8, 2.0)
    finished.add_seconds(8, 1.0)
    assert finished.attempted().seconds == 6 * 0.25 + 3.0
    with ShardWriter(out, 1, manifest=read_manifest(LocalFolder(out))) as writer:
        for image_id in range(7, 13):
            if image_id == 10:
                with pytest.raises(ValueError, match="image 11 where 10 is next"):
                    finished.copy(11, writer)
                writer.add(other, data)
            else:
                finished.copy(image_id, writer)
        assert writer.finish().seconds == 5 * 0.25 + 3.0
    for name in FILES:
        assert (out / name).read_bytes() == (tmp_path / "new" / name).read_bytes()


def test_an_attempt_of_no_time_leaves_a_trace(out: Path) -> None:
    assert second_shard(out).attempted().seconds == 6 * 0.25 + 0.001


@pytest.mark.parametrize("name", FILES)
def test_what_changed_since_it_was_written_is_damage(out: Path, name: str) -> None:
    finished = second_shard(out)
    data = (out / name).read_bytes()
    (out / name).write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(DamagedError, match=rf"{name} is damaged: run `sa-engine verify --repair`"):
        finished.check()


def test_a_shard_that_is_not_there_or_is_another(out: Path) -> None:
    for name in FILES[1:]:
        (out / name).write_bytes((out / name.replace("1", "0")).read_bytes())
    with pytest.raises(DamagedError, match=r"sa_000001\.parquet is damaged"):
        second_shard(out)
    discard_shard(out, 1)
    with pytest.raises(DamagedError, match=r"shard 1 of .* is not complete any more"):
        second_shard(out)


def test_a_tar_that_was_cut_is_damage_when_an_image_is_taken_over(out: Path) -> None:
    finished = second_shard(out)
    tar = out / "sa_000001.tar"
    tar.write_bytes(tar.read_bytes()[:1000])
    with ShardWriter(out, 1, manifest=read_manifest(LocalFolder(out))) as writer:
        with pytest.raises(DamagedError, match=r"sa_000001\.tar is damaged"):
            finished.copy(7, writer)
        assert len(writer.done) == 0
