import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sa_engine.dataset.folder.base import LocalFolder
from sa_engine.dataset.manifest import Manifest, open_output, read_manifest
from sa_engine.dataset.reader import Dataset
from sa_engine.dataset.records import ImageRecord, ImageStatus, Stage
from sa_engine.dataset.shards.writer import ShardWriter, discard_shard
from sa_engine.dataset.sources.source_list import Source
from sa_engine.dataset.status import read_status
from sa_engine.errors import DamagedError, DatasetError, IncompleteError, UsageError

Maker = Callable[..., Path]
ImageOf = Callable[..., tuple[ImageRecord, bytes | None]]


@pytest.fixture
def dataset(tmp_path: Path, make_dataset: Maker) -> Dataset:
    return Dataset(make_dataset(tmp_path / "d", range(10), images_per_shard=4))


def test_records_come_back_as_they_were_written(dataset: Dataset, image_of: ImageOf) -> None:
    expected = [image_of(k + 1, k)[0] for k in range(10)]
    assert len(dataset) == 10
    assert list(dataset) == expected
    assert [dataset[k] for k in range(10)] == expected
    assert dataset[-1] == expected[-1]
    assert dataset.record(7) == expected[6]
    assert list(dataset.shard_images(2)) == expected[8:]
    with pytest.raises(IndexError):
        dataset[10]
    with pytest.raises(UsageError, match="no image 11"):
        dataset.record(11)
    with pytest.raises(UsageError, match="no image 0"):
        dataset.record(0)


def test_by_status(dataset: Dataset) -> None:
    assert [r.image_id for r in dataset.images(status=ImageStatus.FAILED)] == [5, 10]
    assert len(list(dataset.images(status=ImageStatus.OK))) == 8


def test_masks_with_their_ids(dataset: Dataset) -> None:
    ids = [mask_id for _, mask_id, _ in dataset.iter_masks()]
    assert ids[:3] == [1_000_001, 1_000_002, 2_000_001] and len(ids) == 16
    image, _, mask = next(dataset.iter_masks())
    assert mask is image.annotations[0]


def test_stored_files_and_pixels(dataset: Dataset, image_of: ImageOf) -> None:
    record, data = image_of(8, 7)
    assert dataset.read_image_bytes(record) == data
    pixels = np.random.default_rng(7).integers(0, 256, (16, 24, 3), dtype=np.uint8)
    np.testing.assert_array_equal(dataset.read_rgb(record), pixels)
    assert dataset.has_image(record) and not dataset.has_image(dataset[4])
    with pytest.raises(DatasetError, match="holds no file for image 5"):
        dataset.read_image_bytes(dataset[4])


def test_a_dataset_without_images(tmp_path: Path, make_dataset: Maker) -> None:
    dataset = Dataset(make_dataset(tmp_path / "d", range(3), with_images=False))
    assert len(dataset[0].annotations) == 2
    with pytest.raises(DatasetError, match="made without images"):
        dataset.read_rgb(dataset[0])


def test_an_incomplete_dataset(dataset: Dataset, image_of: ImageOf) -> None:
    out = Path(dataset.folder.url)
    discard_shard(out, 1)
    with pytest.raises(DatasetError, match="1 of 3 shards are missing"):
        Dataset(out)
    part = Dataset(out, allow_incomplete=True)
    assert not part.is_complete and len(part) == 6
    assert [record.image_id for record in part] == [1, 2, 3, 4, 9, 10]
    assert part[4] == part.record(9) == image_of(9, 8)[0]
    with pytest.raises(UsageError, match=r"image 6 of .* is not finished yet"):
        part.record(6)


def test_finished_images_of_a_shard_in_the_making(tmp_path: Path, image_of: ImageOf) -> None:
    out = tmp_path / "d"
    manifest = Manifest(stage=Stage.AUTOMATIC, num_images=6, images_per_shard=4)
    manifest = open_output(out, manifest, [Source(f"/p/{k}", f"{k}") for k in range(6)])
    with ShardWriter(out, 0, manifest=manifest) as writer:
        made = []
        for image_id in range(1, 4):
            record, data = image_of(image_id, image_id)
            writer.add(record, data)
            made.append(record)
        part = Dataset(out, allow_incomplete=True)
        assert (len(part), part.shard_indices, part.readable_shards) == (3, [], [0])
        assert list(part) == made == [part[k] for k in range(3)]
        assert read_status(out).num_done == 3
        kept = next(record for record in made if part.has_image(record))
        before = part.read_image_bytes(kept)
        with pytest.raises(UsageError, match=r"image 4 of .* is not finished yet"):
            part.record(4)
        assert part.columns(0, ["image_id"]) == {"image_id": [1, 2, 3]}
        # The shard is completed meanwhile: what was seen is read from its final place.
        writer.add(*image_of(4, 4))
        writer.finish()
    assert part.read_image_bytes(kept) == before
    assert list(part) == made
    assert len(Dataset(out, allow_incomplete=True)) == 4
    with pytest.raises(IncompleteError, match="which continues"):
        Dataset(out)


def test_no_dataset(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a dataset"):
        Dataset(tmp_path)
    with pytest.raises(UsageError, match="is not a dataset"):
        Dataset(tmp_path / "gone")


def test_the_digest_tells_content(tmp_path: Path, make_dataset: Maker) -> None:
    first = Dataset(make_dataset(tmp_path / "a", range(6)))
    same = Dataset(make_dataset(tmp_path / "b", range(6)))
    other = Dataset(make_dataset(tmp_path / "c", range(1, 7)))
    assert first.digest() == same.digest() != other.digest()


def test_it_can_be_sent_to_another_process(dataset: Dataset) -> None:
    assert dataset[3] == pickle.loads(pickle.dumps(dataset))[3]


def test_many_shards_are_held_a_few_at_a_time(tmp_path: Path, make_dataset: Maker) -> None:
    dataset = Dataset(make_dataset(tmp_path / "d", range(40), images_per_shard=1, num_masks=0))
    assert [dataset[k].image_id for k in range(39, -1, -1)] == list(range(40, 0, -1))
    assert len(dataset._light) == 32


def test_a_tar_that_was_cut_is_damage(dataset: Dataset) -> None:
    path = Path(dataset.folder.url) / "sa_000000.tar"
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(DamagedError, match="cut short"):
        dataset[3]


@pytest.mark.parametrize("damage", [lambda data: data[:300], lambda data: b"", lambda data: None])
def test_damaged_files_are_said_to_be(
    dataset: Dataset, damage: Callable[[bytes], bytes | None]
) -> None:
    for name in ("sa_000001.parquet", "inputs.parquet"):
        path = Path(dataset.folder.url) / name
        data = damage(path.read_bytes())
        path.unlink()
        if data is not None:
            path.write_bytes(data)
    with pytest.raises(DamagedError, match=r"cannot read .*sa_000001\.parquet.*verify the dataset"):
        list(dataset)
    with pytest.raises(DamagedError, match=r"cannot read .*sa_000001\.parquet"):
        dataset[5]
    with pytest.raises(DamagedError, match=r"cannot read .*inputs\.parquet"):
        dataset.inputs().all()


def test_single_columns(dataset: Dataset) -> None:
    assert dataset.columns(1, ["image_id", "status"]) == {
        "image_id": [5, 6, 7, 8],
        "status": ["failed", "ok", "ok", "ok"],
    }


def test_an_empty_dataset(tmp_path: Path, make_dataset: Maker) -> None:
    dataset = Dataset(make_dataset(tmp_path / "d", []))
    assert len(dataset) == 0 and list(dataset) == [] and dataset.is_complete
    assert list(dataset.inputs().all()) == []
    again = open_output(tmp_path / "d", replace(dataset.manifest), None)
    assert again == read_manifest(LocalFolder(tmp_path / "d"))
