"""Boxes scored as COCO scores them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from sa_engine.dataset.reader import Dataset
from sa_engine.dataset.records import MaskRecord, Stage
from sa_engine.errors import UsageError
from sa_engine.evaluation.boxes import PictureBoxes, box_scores, evaluate_boxes, found_objects
from sa_engine.masks import rle
from tests.support.scene_datasets import write_scenes


def mask(x: int, y: int, width: int, height: int, *, iscrowd: bool = False) -> MaskRecord:
    pixels = np.zeros((100, 200), dtype=bool)
    pixels[y : y + height, x : x + width] = True
    coded = rle.encode(pixels)
    return MaskRecord(
        segmentation=coded,
        bbox_xywh=rle.bbox_xywh(coded),
        area=rle.area(coded),
        stage=Stage.MANUAL,
        crop_box_xywh=(0, 0, 200, 100),
        iscrowd=iscrowd,
    )


def picture(
    known: list[MaskRecord],
    boxes: Sequence[Sequence[float]],
    scores: list[float],
    method: str = "m",
) -> PictureBoxes:
    return PictureBoxes(
        dataset="set",
        image_id=1,
        size_hw=(100, 200),
        method=method,
        known=tuple(known),
        mask_ids=tuple(range(1, len(known) + 1)),
        boxes_xyxy_N4=np.array(boxes, dtype=np.float64).reshape(-1, 4),
        scores_N=np.array(scores),
    )


def test_figures_of_a_small_case_by_hand():
    # A small object found exactly, a large one with an IoU of 0.75, one more not at all.
    known = [mask(0, 0, 10, 10), mask(50, 0, 100, 100), mask(180, 80, 10, 10)]
    boxes = [[0, 0, 10, 10], [50, 0, 125, 100], [20, 20, 30, 30]]
    rows = {row.size: row for row in box_scores([picture(known, boxes, [0.9, 0.5, 0.8])])}
    assert list(rows) == ["all", "small", "large"]
    # Of ten thresholds all, six (0.50 to 0.75) and none.
    assert rows["all"].ar_100 == pytest.approx((1 + 0.6 + 0) / 3)
    assert rows["small"].ar_100 == pytest.approx(0.5)
    assert rows["large"].ar_10 == pytest.approx(0.6)
    assert (rows["all"].objects, rows["small"].objects, rows["all"].boxes) == (3, 2, 3)
    # Precision 1 up to a recall of 1/3, then 2/3 up to 2/3: 34 and 33 of COCO's 101 recalls.
    assert rows["all"].ap_50 == pytest.approx((34 * 1 + 33 * 2 / 3) / 101)


def test_only_the_first_boxes_count():
    known = [mask(0, 0, 10, 10)]
    others = [[x, 50, x + 10, 60] for x in range(0, 190, 10)]
    boxes = [*others, [0, 0, 10, 10]]
    (row, _) = box_scores([picture(known, boxes, list(np.linspace(1, 0.1, 20)))])
    assert (row.ar_10, row.ar_100, row.ar_1000) == (0, 1, 1)
    (found,) = found_objects(picture(known, boxes, list(np.linspace(1, 0.1, 20))))
    assert (found.iou_10, found.iou_100, found.iou_1000, found.boxes) == (0, 1, 1, 20)


def test_a_crowd_is_neither_to_be_found_nor_a_mistake():
    known = [mask(0, 0, 10, 10), mask(50, 0, 100, 100, iscrowd=True)]
    boxes = [[60, 10, 80, 90], [0, 0, 10, 10]]
    (row, _) = box_scores([picture(known, boxes, [0.9, 0.5])])
    assert (row.objects, row.ar_100) == (1, 1)
    assert row.ap_50 == pytest.approx(1)
    assert [found.mask_id for found in found_objects(picture(known, boxes, [0.9, 0.5]))] == [1]


def test_nothing_found_at_all():
    (row, _) = box_scores([picture([mask(0, 0, 10, 10)], [], [])])
    assert (row.ar_1000, row.ap_50, row.boxes) == (0, 0, 0)
    (found,) = found_objects(picture([mask(0, 0, 10, 10)], [], []))
    assert found.iou_1000 == 0


def test_one_box_answers_for_one_object():
    twice = [mask(0, 0, 10, 10), mask(0, 0, 10, 10)]
    assert [found.iou_100 for found in found_objects(picture(twice, [[0, 0, 10, 10]], [1]))] == [
        1,
        0,
    ]


def test_methods_look_at_every_picture_of_a_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    dataset = Dataset(write_scenes(tmp_path / "scenes", range(3)))
    known = {
        dataset.read_rgb(record).tobytes(): np.array([m.bbox_xywh for m in record.annotations])
        for record in dataset
    }

    def oracle(rgb: NDArray[np.uint8]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        boxes = known[rgb.tobytes()].copy()
        boxes[:, 2:] += boxes[:, :2]
        return boxes, np.ones(len(boxes))

    def blind(_: NDArray[np.uint8]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return np.zeros((0, 4)), np.zeros(0)

    made = list(evaluate_boxes(dataset, "scenes", methods={"oracle": oracle, "blind": blind}))
    assert len(made) == 3
    rows = [row for row in box_scores([p for part in made for p in part]) if row.size == "all"]
    assert [(row.method, row.ar_100, row.ap_50) for row in rows] == [
        ("oracle", 1, pytest.approx(1)),
        ("blind", 0, 0),
    ]
    assert capsys.readouterr().out == ""


def test_a_set_without_masks_is_refused(tmp_path: Path):
    empty = Dataset(write_scenes(tmp_path / "empty", range(2), min_area=10**9))
    with pytest.raises(UsageError, match="no image with masks"):
        list(evaluate_boxes(empty, "empty", methods={}))
