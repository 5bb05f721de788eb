"""The status tells what is done, in complete shards and in those in the making."""

from pathlib import Path

from sa_engine.dataset.manifest import Manifest, open_output
from sa_engine.dataset.records import Stage
from sa_engine.dataset.shards.claims import claim
from sa_engine.dataset.shards.writer import ShardWriter
from sa_engine.dataset.sources.source_list import Source
from sa_engine.dataset.status import failed_images, read_status
from tests.dataset.conftest import image_record


def test_a_dataset_in_the_making(tmp_path: Path) -> None:
    root = tmp_path / "data"
    sources = [Source(f"/photos/{n}.png", f"{n}.png") for n in range(12)]
    manifest = open_output(
        root, Manifest(stage=Stage.AUTOMATIC, num_images=12, images_per_shard=6), sources
    )
    assert read_status(root).num_done == 0
    with ShardWriter(root, 0, manifest=manifest) as writer:
        for image_id in range(1, 7):
            # every fifth seed is a failure: images 4 and so on
            writer.add(*image_record(image_id, image_id), seconds=0.5)
        writer.finish()
    lease = claim(root, 1)
    assert lease is not None
    with lease, ShardWriter(root, 1, manifest=manifest, lease=lease) as writer:
        for image_id in range(7, 11):
            writer.add(*image_record(image_id, image_id), seconds=0.5)
        status = read_status(root)
    assert (status.num_complete, status.num_done) == (1, 10)
    assert sum(status.num_failed.values()) == 2  # seeds 4 and 9
    assert [(w.holder.shard_index, w.num_done, w.num_images) for w in status.working] == [(1, 4, 6)]
    assert status.images_per_s == 2.0
    assert status.seconds_left == 1.0
    assert [failure.image_id for failure in failed_images(root, limit=9)] == [4, 9]
    assert [failure.image_id for failure in failed_images(root, limit=1)] == [4]

    after = read_status(root)
    assert after.working == ()
    assert after.images_per_s is None
    assert after.num_done == 10
