"""Other tools read a dataset as it lies on disk."""

import gc
import json
import multiprocessing
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from sa_engine.dataset.reader import Dataset
from sa_engine.masks import rle

Maker = Callable[..., Path]


@pytest.fixture
def out(tmp_path: Path, make_dataset: Maker) -> Path:
    return make_dataset(tmp_path / "d", range(7), images_per_shard=4)


# It leaves its archives to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore:unclosed")
def test_webdataset(out: Path) -> None:
    import webdataset  # type: ignore[import-untyped]

    paths = [str(path) for path in sorted(out.glob("*.tar"))]
    samples = list(webdataset.WebDataset(paths, shardshuffle=False).decode("rgb8"))
    gc.collect()
    dataset = Dataset(out)
    expected = [record for record in dataset if record.file_name]
    assert [sample["__key__"] for sample in samples] == [f"sa_{r.image_id}" for r in expected]
    for sample, record in zip(samples, expected, strict=True):
        np.testing.assert_array_equal(sample["png"], dataset.read_rgb(record))
        assert len(sample["json"]["annotations"]) == len(record.annotations)


def test_pycocotools_on_the_json_of_a_tar(out: Path) -> None:
    dataset = Dataset(out)
    with tarfile.open(out / "sa_000000.tar") as archive:
        text = archive.extractfile("sa_2.json")
        assert text is not None
        content = json.loads(text.read())
    masks = dataset.record(2).annotations
    for item, mask in zip(content["annotations"], masks, strict=True):
        decoded = coco_mask.decode(item["segmentation"])
        np.testing.assert_array_equal(decoded != 0, rle.decode(mask.segmentation))
        assert coco_mask.toBbox(item["segmentation"]).tolist() == item["bbox"]
        assert coco_mask.area(item["segmentation"]) == item["area"]


def test_duckdb(out: Path) -> None:
    import duckdb

    with duckdb.connect() as connection:
        query = f"""
            SELECT image_id, mask.id, mask.segmentation.size[1], mask.bbox[3], mask.stage
            FROM (SELECT image_id, unnest(annotations) AS mask FROM '{out}/sa_*.parquet')
            ORDER BY 2"""
        rows = connection.execute(query).fetchall()
        failed = connection.execute(
            f"SELECT error, count(*) FROM '{out}/sa_*.parquet' WHERE status = 'failed' GROUP BY 1"
        ).fetchall()
        named = connection.execute(f"SELECT name FROM '{out}/inputs.parquet' LIMIT 1").fetchall()
    expected = [
        (image.image_id, mask_id, 16, mask.bbox_xywh[2], "automatic")
        for image, mask_id, mask in Dataset(out).iter_masks()
    ]
    assert rows == expected
    assert failed == [("truncated: the file ends too early", 1)]
    assert named == [("photo 000.png",)]


def test_hugging_face_datasets(out: Path, tmp_path: Path) -> None:
    from datasets import load_dataset  # type: ignore[import-untyped]

    found = load_dataset(str(out), split="train", cache_dir=str(tmp_path / "cache"))
    dataset = Dataset(out)
    assert len(found) == 7
    for row, record in zip(found, dataset, strict=True):
        assert row["image_id"] == record.image_id and row["source"] == record.source
        counts = [item["segmentation"]["counts"] for item in row["annotations"]]
        assert counts == [mask.segmentation.counts for mask in record.annotations]
        points = [item["point_coords"] for item in row["annotations"]]
        assert points == [[list(p) for p in mask.point_coords_xy] for mask in record.annotations]


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_it_is_read_in_forked_workers_too(out: Path) -> None:
    dataset = Dataset(out)
    first = list(dataset)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(dataset.__getitem__, range(len(dataset))) == first
