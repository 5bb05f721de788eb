"""Pictures with the boxes of their objects, and their encoded maps on disk."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from sa_engine.dataset.reader import Dataset
from sa_engine.dataset.records import ImageRecord, MaskRecord, Stage
from sa_engine.detection.encoder import EncodedMaps, encode
from sa_engine.errors import UsageError
from sa_engine.masks import rle
from sa_engine.training.data.feature_bank import FeatureBank, bytes_of_entry
from sa_engine.training.data.photos import PhotoSource, Window, usable_records
from sa_engine.training.data.samples import PromptConfig
from sa_engine.training.detector.config import DetectorTrainConfig
from sa_engine.training.detector.source import DetectorSample, DetectorSource, visible_boxes
from tests.support.scene_datasets import write_scenes
from tests.support.small_sam import small_sam

CONFIG = DetectorTrainConfig()


def record_of(*masks: np.ndarray) -> ImageRecord:
    height, width = masks[0].shape
    annotations = [
        MaskRecord(
            segmentation=(coded := rle.encode(mask)),
            bbox_xywh=rle.bbox_xywh(coded),
            area=rle.area(coded),
            stage=Stage.MANUAL,
            crop_box_xywh=(0, 0, width, height),
        )
        for mask in masks
    ]
    return ImageRecord(
        image_id=1,
        file_name="sa_1.png",
        source="a",
        width=width,
        height=height,
        sha256="",
        annotations=tuple(annotations),
    )


def triangle() -> np.ndarray:
    """Pixels x <= y of a square of 8 at (4, 0) in a picture of 20 x 10."""
    mask = np.zeros((10, 20), dtype=bool)
    mask[:8, 4:12] = np.tril(np.ones((8, 8), dtype=bool))
    return mask


def test_the_box_is_that_of_the_visible_pixels():
    record = record_of(triangle())
    whole = Window(0, 0, 20, 10, (10, 20), False)
    assert visible_boxes(record, whole, 1).tolist() == [[4, 0, 12, 8]]
    # Of the triangle's left half the window shows columns up to x = 7, which begin at row 0.
    left = Window(0, 2, 8, 10, (8, 8), False)
    assert visible_boxes(record, left, 1).tolist() == [[4, 0, 8, 6]]
    # Its right part begins at row 4 of the picture.
    right = Window(8, 0, 20, 10, (20, 24), False)
    assert visible_boxes(record, right, 1).tolist() == [[0, 8, 8, 16]]
    mirrored = Window(8, 0, 20, 10, (20, 24), True)
    assert visible_boxes(record, mirrored, 1).tolist() == [[16, 8, 24, 16]]


def test_what_is_hardly_visible_or_everything_is_no_object():
    record = record_of(triangle(), np.ones((10, 20), dtype=bool))
    corner = Window(10, 0, 20, 10, (10, 10), False)
    # 3 of the triangle's 36 pixels, and all of what is shown.
    assert visible_boxes(record, corner, 1).shape == (0, 4)
    whole = Window(0, 0, 20, 10, (10, 20), False)
    assert visible_boxes(record, whole, 9).shape == (0, 4)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> PhotoSource:
    path = write_scenes(tmp_path_factory.mktemp("sets") / "scenes", range(3))
    dataset = Dataset(path)
    records = usable_records(dataset, "scenes")
    return PhotoSource(
        name="scenes",
        dataset=dataset,
        records=records,
        size=32,
        prompts=PromptConfig(),
        jitter=CONFIG.jitter,
    )


def test_a_variation_is_the_same_whoever_draws_it(photos: PhotoSource):
    source = DetectorSource(photos=photos, config=CONFIG, views=3, first_entry=5)
    seen: dict[int, DetectorSample] = {}
    for key in range(60):
        drawn = source.draw(np.random.default_rng([1, key]), key=key)
        assert drawn.image_3SS is not None
        first = seen.setdefault(drawn.entry, drawn)
        assert first.image_3SS is not None
        assert np.array_equal(first.image_3SS, drawn.image_3SS)
        assert np.array_equal(first.boxes_G4, drawn.boxes_G4)
    assert sorted(seen) == list(range(5, 5 + 9))
    plain, mirror = seen[5], seen[6]
    assert plain.image_3SS is not None and mirror.image_3SS is not None
    assert np.array_equal(plain.image_3SS[:, :, ::-1], mirror.image_3SS)
    assert np.allclose(32 - plain.boxes_G4[:, [2, 0]], mirror.boxes_G4[:, [0, 2]])


def test_without_views_no_two_are_the_same(photos: PhotoSource):
    source = DetectorSource(photos=photos, config=CONFIG, views=0)
    drawn = [source.draw(np.random.default_rng(key), key=key) for key in range(4)]
    assert {sample.entry for sample in drawn} == {-1}
    first, second = drawn[0].image_3SS, drawn[1].image_3SS
    assert first is not None and second is not None
    assert not np.array_equal(first, second)


def test_objects_are_limited(photos: PhotoSource):
    source = DetectorSource(photos=photos, config=replace(CONFIG, max_objects=1), views=1)
    for key in range(5):
        assert len(source.draw(np.random.default_rng(key), key=key).boxes_G4) <= 1


CHANNELS = {4: 32, 8: 48, 16: 64}


@torch.no_grad()
def encoded_image(seed: int) -> EncodedMaps:
    torch.manual_seed(seed)
    return encode(small_sam(32).eval(), torch.randn(1, 3, 32, 32))


def test_kept_maps_come_back_in_half_precision(tmp_path: Path):
    bank = FeatureBank(tmp_path / "maps.bin", num_entries=3, channels=CHANNELS, image_size=32)
    first, second = encoded_image(0), encoded_image(1)
    assert [entry in bank for entry in range(3)] == [False, False, False]
    bank.put(2, first)
    bank.put(0, second)
    reopened = FeatureBank(tmp_path / "maps.bin", num_entries=3, channels=CHANNELS, image_size=32)
    assert [entry in reopened for entry in range(3)] == [True, False, True]
    both = reopened.get([2, 0])
    for place, made in enumerate((first, second)):
        assert torch.equal(
            both.embedding.coarse_BCHW[place], made.embedding.coarse_BCHW[0].half().float()
        )
        for stride, x in made.finer.items():
            assert torch.equal(both.finer[stride][place], x[0].half().float())


def test_a_torn_entry_does_not_count(tmp_path: Path):
    path = tmp_path / "maps.bin"
    bank = FeatureBank(path, num_entries=2, channels=CHANNELS, image_size=32)
    bank.put(1, encoded_image(0))
    with path.open("r+b") as file:
        file.seek(bytes_of_entry(CHANNELS, 32) + 8 + 100)
        file.write(b"torn")
    torn = FeatureBank(path, num_entries=2, channels=CHANNELS, image_size=32)
    assert 1 not in torn
    assert path.stat().st_size == 2 * (bytes_of_entry(CHANNELS, 32) + 8)


def test_no_room_for_maps_is_said_before_any_are_made(tmp_path: Path):
    with pytest.raises(UsageError, match=r"of 1000000000000 pictures needs .* MiB .*--views 0"):
        FeatureBank(tmp_path / "m", num_entries=10**12, channels=CHANNELS, image_size=1024)
    assert not list(tmp_path.iterdir())
