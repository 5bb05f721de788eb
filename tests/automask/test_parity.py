from typing import cast

import numpy as np
import pytest

from sa_engine.automask.parity import MaskPair, ParitySummary, compare, summarise
from sa_engine.dataset.records import MaskRecord, Stage
from sa_engine.masks import rle as run_lengths


def record(x0: int, x1: int, predicted_iou: float | None = 0.9) -> MaskRecord:
    mask = np.zeros((10, 100), dtype=np.bool_)
    mask[:, x0:x1] = True
    rle = run_lengths.encode(mask)
    return MaskRecord(
        segmentation=rle,
        bbox_xywh=run_lengths.bbox_xywh(rle),
        area=run_lengths.area(rle),
        stage=Stage.AUTOMATIC,
        predicted_iou=predicted_iou,
        stability_score=0.95,
        crop_box_xywh=(0, 0, 100, 10),
    )


def about(value: float) -> float:
    """What equals all numbers close to this one."""
    return cast(float, pytest.approx(value))


def test_the_same_run_twice_is_identical() -> None:
    run = [record(0, 20), record(30, 60), record(30, 60)]
    parity = compare(run, run)
    assert parity.identical
    assert [(m.first, m.second, m.iou) for m in parity.matches] == [(0, 0, 1), (1, 1, 1), (2, 2, 1)]


def test_masks_are_paired_by_overlap_and_the_rest_is_listed() -> None:
    first = [record(0, 20, 0.9), record(30, 60), record(70, 80)]
    second = [record(31, 60), record(90, 100), record(0, 20, 0.8)]
    parity = compare(first, second)
    assert parity.matches == (
        MaskPair(0, 2, 1.0, about(-0.1), 0.0),
        MaskPair(1, 0, about(29 / 30), 0.0, 0.0),
    )
    assert parity.only_first == (2,)
    assert parity.only_second == (1,)
    assert not parity.identical


def test_each_mask_is_used_once_and_the_best_pair_wins() -> None:
    parity = compare([record(0, 40), record(0, 39)], [record(0, 39)])
    assert [(m.first, m.second) for m in parity.matches] == [(1, 0)]
    assert parity.only_first == (0,)


def test_another_order_is_not_identical() -> None:
    assert not compare([record(0, 20), record(30, 60)], [record(30, 60), record(0, 20)]).identical


def test_summary_over_images() -> None:
    same = [record(0, 20)]
    parities = [
        compare(same, same),
        compare([record(0, 40, None), record(50, 60)], [record(0, 39, None)]),
        compare([], [record(0, 3)]),
    ]
    assert summarise(parities) == ParitySummary(
        images=3,
        identical_images=1,
        masks_first=3,
        masks_second=3,
        matched=2,
        mean_iou=about((1 + 39 / 40) / 2),
        least_iou=about(39 / 40),
        greatest_score_change=0.0,
    )
    summary = summarise(parities)
    assert (summary.only_first, summary.only_second) == (1, 1)
    assert summary.matched_share == pytest.approx(2 / 3)


def test_nothing_to_compare() -> None:
    summary = summarise([])
    assert (summary.matched_share, summary.mean_iou, summary.least_iou) == (1.0, 1.0, 1.0)
