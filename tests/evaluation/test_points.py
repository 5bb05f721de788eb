"""The point protocol with segmenters whose answers are known."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from sa_engine.dataset.reader import Dataset
from sa_engine.dataset.records import MaskRecord, Stage
from sa_engine.errors import UsageError
from sa_engine.evaluation.baselines import GrabCut, RegionGrowing
from sa_engine.evaluation.clicks import Click
from sa_engine.evaluation.points import (
    PointsConfig,
    chosen_images,
    chosen_targets,
    evaluate_points,
    iou,
)
from sa_engine.evaluation.results import read_rows, write_rows
from sa_engine.evaluation.segmenters import Answer, BoxXyxy
from sa_engine.masks import rle
from tests.support.scene_datasets import write_scenes


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return Dataset(write_scenes(tmp_path_factory.mktemp("d") / "scenes", range(4)))


class Scripted:
    """Answers nothing at first and the whole picture later; notes what it was asked."""

    name = "scripted"
    takes_boxes = True

    def __init__(self) -> None:
        self.asked: list[tuple[tuple[Click, ...], BoxXyxy | None]] = []
        self._size = (1, 1)

    def set_image(self, rgb_HW3: NDArray[np.uint8]) -> None:
        self._size = rgb_HW3.shape[:2]

    def start_object(self) -> None:
        self._turn = 0

    def answer(self, clicks: Sequence[Click], box_xyxy: BoxXyxy | None = None) -> Answer:
        self.asked.append((tuple(clicks), box_xyxy))
        masks = np.zeros((2, *self._size), dtype=np.bool_)
        masks[1] = True
        chosen = min(self._turn, 1)
        self._turn += 1
        return Answer(masks, np.array([0.9, 0.1], dtype=np.float32), chosen)


def test_scores_and_clicks(dataset: Dataset):
    segmenter = Scripted()
    config = PointsConfig(counts=(1, 3), boxes=True)
    scores = [
        s
        for part in evaluate_points(dataset, "scenes", segmenters=[segmenter], config=config)
        for s in part
    ]
    masks = sum(len(r.annotations) for r in dataset)
    assert len(scores) == 3 * masks
    assert [s.prompt for s in scores[:3]] == ["1 point", "3 points", "box"]
    record = dataset[0]
    share = record.annotations[0].area / (record.width * record.height)
    first, third, _ = scores[:3]
    assert first.own_iou == 0.0
    assert third.own_iou == pytest.approx(share)
    assert first.oracle_iou == pytest.approx(share)
    assert first.predicted_iou == pytest.approx(0.9)
    asked = segmenter.asked[:4]
    assert [len(clicks) for clicks, _ in asked] == [1, 2, 3, 0]
    # After nothing the target is missed; after everything there is too much.
    assert [c.foreground for c in asked[2][0]] == [True, True, False]
    x, y, w, h = record.annotations[0].bbox_xywh
    assert asked[3][1] == (x, y, x + w, y + h)


def test_iou_leaves_ignored_pixels_out():
    target = np.array([[1, 1, 0, 0]], dtype=np.bool_)
    predicted = np.array([[1, 0, 1, 0]], dtype=np.bool_)
    assert iou(predicted, target) == pytest.approx(1 / 3)
    assert iou(predicted, target, np.array([[0, 1, 1, 0]], dtype=np.bool_)) == 1.0
    assert iou(np.zeros_like(target), np.zeros_like(target)) == 0.0


def test_the_void_band_is_read_and_crowds_are_not_scored(dataset: Dataset):
    record = dataset[0]
    first = record.annotations[0]
    band = np.zeros((record.height, record.width), dtype=np.bool_)
    band[3] = True
    voided = replace(first, attributes={"void": rle.encode(band).to_coco()})
    crowd = MaskRecord(
        segmentation=first.segmentation,
        bbox_xywh=first.bbox_xywh,
        area=first.area,
        stage=Stage.MANUAL,
        crop_box_xywh=first.crop_box_xywh,
        iscrowd=True,
    )
    targets = list(
        chosen_targets(replace(record, annotations=(crowd, voided)), max_masks=None, seed=0)
    )
    assert [t.mask_id for t in targets] == [record.mask_id(1)]
    assert targets[0].ignored is not None and np.array_equal(targets[0].ignored, band)


def test_subsets_are_the_same_every_time(dataset: Dataset):
    record = dataset[1]
    chosen = [
        [t.mask_id for t in chosen_targets(record, max_masks=2, seed=seed)] for seed in (1, 1)
    ]
    assert chosen[0] == chosen[1] and len(chosen[0]) == 2
    assert [r.image_id for r in chosen_images(dataset, "scenes", 2)] == [1, 3]


def test_an_empty_set_is_named(tmp_path: Path):
    empty = Dataset(write_scenes(tmp_path / "masked", range(2), min_area=10**9))
    with pytest.raises(UsageError, match="my set holds no image with masks"):
        chosen_images(empty, "my set", None)


def test_results_survive_the_disk(tmp_path: Path, dataset: Dataset):
    config = PointsConfig(counts=(1,))
    scores = next(evaluate_points(dataset, "scenes", segmenters=[Scripted()], config=config))
    write_rows(tmp_path / "rows.parquet", scores)
    assert read_rows(tmp_path / "rows.parquet", type(scores[0])) == scores


def picture() -> NDArray[np.uint8]:
    """A red disc on blue, with a second red disc apart."""
    y, x = np.ogrid[:80, :120]
    rgb = np.full((80, 120, 3), (20, 40, 160), dtype=np.uint8)
    rgb[(x - 30) ** 2 + (y - 40) ** 2 < 20**2] = (200, 30, 30)
    rgb[(x - 95) ** 2 + (y - 40) ** 2 < 12**2] = (200, 30, 30)
    return rgb


@pytest.mark.parametrize("baseline", [RegionGrowing(), GrabCut()])
def test_baselines_find_a_disc(baseline: RegionGrowing | GrabCut):
    y, x = np.ogrid[:80, :120]
    disc = (x - 30) ** 2 + (y - 40) ** 2 < 20**2
    baseline.set_image(picture())
    baseline.start_object()
    clicks = [Click(30, 40, True), Click(95, 40, False)]
    answer = baseline.answer(clicks)
    assert answer.masks_MHW.shape == (1, 80, 120)
    assert iou(answer.masks_MHW[0], disc) > 0.85


def test_grab_cut_keeps_to_its_box():
    cut = GrabCut()
    cut.set_image(picture())
    mask = cut.answer([], box_xyxy=(5, 15, 55, 65)).masks_MHW[0]
    assert not mask[:, 60:].any() and mask[40, 30]
