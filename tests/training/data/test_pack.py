"""Packs: what comes back of datasets, and files that are none."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sa_engine.dataset.reader import Dataset
from sa_engine.dataset.records import Stage
from sa_engine.errors import DamagedError, ImageError, UsageError
from sa_engine.masks import rle
from sa_engine.training.data import pack as pack_module
from sa_engine.training.data.pack import PackConfig, PackSummary, read_pack, write_pack
from tests.support.scene_datasets import write_scenes

FINE = PackConfig(image_size=512, quality=95)


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Dataset]:
    folder = tmp_path_factory.mktemp("sets")
    write_scenes(folder / "scenes", range(4))
    write_scenes(folder / "more", range(10, 12), stage=Stage.AUTOMATIC)
    return {name: Dataset(folder / name) for name in ("scenes", "more")}


def pack(sets: dict[str, Dataset], out: Path, config: PackConfig = FINE) -> PackSummary:
    return write_pack(sets, out, config=config, weights={"more": 3.0, "manual": 2.0})


@pytest.mark.parametrize("resident", [True, False])
def test_a_pack_holds_its_sets(
    sets: dict[str, Dataset],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    resident: bool,
):
    monkeypatch.setattr(pack_module, "available_bytes", lambda: 1e9 if resident else 0.0)
    summary = pack(sets, tmp_path / "train.pack")
    found = read_pack(tmp_path / "train.pack")
    assert dict(summary.images) == {"scenes": 4, "more": 2}
    assert summary.num_bytes == (tmp_path / "train.pack").stat().st_size
    assert found.weights == {"more": 3.0, "manual": 2.0}
    for name, dataset in sets.items():
        packed = list(found.sets[name].images())
        assert summary.masks[name] == sum(len(r.annotations) for r in packed)
        for before, after in zip(dataset, packed, strict=True):
            assert (after.width, after.height) == (before.width, before.height)
            assert after.source == before.source
            for mask, kept in zip(before.annotations, after.annotations, strict=True):
                assert kept.segmentation == mask.segmentation
                assert (kept.bbox_xywh, kept.area) == (mask.bbox_xywh, mask.area)
                assert kept.stage == mask.stage
            pixels = found.sets[name].read_rgb(after)
            assert pixels.dtype == np.uint8 and not pixels.flags.writeable
            error = pixels.astype(float) - dataset.read_rgb(before)
            assert np.sqrt((error**2).mean()) < 12


def test_large_images_and_their_masks_become_smaller(sets: dict[str, Dataset], tmp_path: Path):
    pack(sets, tmp_path / "small.pack", PackConfig(image_size=32, quality=80))
    packed = read_pack(tmp_path / "small.pack").sets["scenes"]
    for before, after in zip(sets["scenes"], packed.images(), strict=True):
        assert (after.width, after.height) == (32, 32)
        assert packed.read_rgb(after).shape == (32, 32, 3)
        areas = sorted(m.area / 64**2 for m in before.annotations)
        small = sorted(m.area / 32**2 for m in after.annotations)
        assert max(small) == pytest.approx(max(areas), abs=0.05)
        for mask in after.annotations:
            assert mask.area == rle.decode(mask.segmentation).sum() > 0


def test_the_same_sets_give_the_same_bytes(sets: dict[str, Dataset], tmp_path: Path):
    first, second, other = (tmp_path / name for name in ("a", "b", "c"))
    pack(sets, first)
    pack(sets, second)
    pack(sets, other, replace(FINE, quality=50))
    assert first.read_bytes() == second.read_bytes()
    digests = [read_pack(path).sets["scenes"].digest() for path in (first, second, other)]
    assert digests[0] == digests[1] != digests[2]


def test_an_image_that_cannot_be_read_is_left_out(sets: dict[str, Dataset], tmp_path: Path):
    class Torn:
        images = sets["scenes"].images
        digest = sets["scenes"].digest

        def read_rgb(self, record):
            if record.image_id == 2:
                raise ImageError("truncated", "ends early")
            return sets["scenes"].read_rgb(record)

    summary = write_pack({"torn": Torn()}, tmp_path / "p", config=FINE, weights={})
    assert dict(summary.images) == {"torn": 3}
    assert summary.failures == [("1.png", "ends early")]
    assert len(list(read_pack(tmp_path / "p").sets["torn"].images())) == 3


def test_groups_are_left_out(sets: dict[str, Dataset], tmp_path: Path):
    class Groups:
        read_rgb = sets["scenes"].read_rgb
        digest = sets["scenes"].digest

        def images(self, *, status=None):
            for record in sets["scenes"].images(status=status):
                first, *rest = record.annotations
                yield replace(record, annotations=(replace(first, iscrowd=True), *rest))

    before = sum(len(r.annotations) for r in sets["scenes"])
    summary = write_pack({"groups": Groups()}, tmp_path / "p", config=FINE, weights={})
    assert summary.masks["groups"] == before - 4


def test_files_that_are_no_packs(sets: dict[str, Dataset], tmp_path: Path):
    text = tmp_path / "text"
    text.write_text("hello")
    with pytest.raises(UsageError, match=r"text is neither a dataset's folder nor a pack"):
        read_pack(text)
    table = tmp_path / "other.parquet"
    pq.write_table(pa.table({"a": [1]}), table)
    with pytest.raises(UsageError, match=r"Parquet file of something else, not a pack"):
        read_pack(table)
    damaged = tmp_path / "damaged"
    pack(sets, damaged)
    data = bytearray(damaged.read_bytes())
    for place in range(200, 2000, 50):
        data[place] ^= 0xFF
    damaged.write_bytes(data)
    with pytest.raises(DamagedError, match=r"damaged .*make or copy it again"):
        read_pack(damaged)


def test_nothing_is_left_of_a_pack_that_failed(sets: dict[str, Dataset], tmp_path: Path):
    empty = Dataset(write_scenes(tmp_path / "empty", range(2), min_area=10**9))
    with pytest.raises(UsageError, match="empty holds no image with masks"):
        pack({**sets, "empty": empty}, tmp_path / "out" / "train.pack")
    assert list((tmp_path / "out").iterdir()) == []


def test_bad_values_are_named():
    with pytest.raises(ValueError, match="quality is 0"):
        PackConfig(quality=0)
    with pytest.raises(ValueError, match="image_size is 8"):
        PackConfig(image_size=8)
