"""Means by group, and differences that are more than chance."""

import math

import numpy as np

from sa_engine.evaluation.groups_summary import group_scores
from sa_engine.evaluation.points import Score


def scores(values: dict[str, np.ndarray]) -> tuple[list[Score], dict]:
    """Two masks of each image; each image belongs to one group."""
    made, groups, number = [], {}, 0
    for group, ious in values.items():
        for iou in ious:
            number += 1
            for mask in (1, 2):
                mask_id = number * 1_000_000 + mask
                groups["s", mask_id] = {"age": group}
                made.append(
                    Score(
                        dataset="s",
                        image_id=number,
                        mask_id=mask_id,
                        area=100,
                        method="m",
                        prompt="1 point",
                        points=1,
                        own_iou=float(iou),
                        oracle_iou=1.0,
                        predicted_iou=0.5,
                    )
                )
    return made, groups


def test_a_true_difference_is_found_and_a_small_one_is_not() -> None:
    rng = np.random.default_rng(0)
    values = {
        "older": 0.7 + 0.1 * rng.standard_normal(60),
        "younger": 0.5 + 0.1 * rng.standard_normal(60),
        "middle": 0.7 + 0.1 * rng.standard_normal(60),
    }
    found, differences = group_scores(*scores(values))
    means = {row.value: row for row in found}
    for value, ious in values.items():
        row = means[value]
        assert math.isclose(row.interval.mean, ious.mean())
        assert row.interval.low < ious.mean() < row.interval.high
        assert 0.03 < row.interval.high - row.interval.low < 0.07
        assert (row.masks, row.images) == (120, 60)
    assert [(d.first, d.second) for d in differences] == [
        ("middle", "younger"),
        ("older", "younger"),
    ]
    assert all(d.difference > 0.1 and d.p < 0.01 for d in differences)


def test_a_group_of_one_image_has_a_mean_alone() -> None:
    found, differences = group_scores(*scores({"a": np.array([0.2]), "b": np.array([0.9, 0.8])}))
    assert [row.interval.mean for row in found] == [0.2, 0.8500000000000001]
    assert math.isnan(found[0].interval.low)
    assert not differences


def test_many_groups_alike_differ_by_chance_only() -> None:
    rng = np.random.default_rng(3)
    values = {f"g{n}": 0.6 + 0.1 * rng.standard_normal(12) for n in range(8)}
    assert not group_scores(*scores(values))[1]


def test_masks_without_a_group_are_left_out() -> None:
    made, groups = scores({"a": np.array([0.5, 0.7])})
    del groups["s", 2_000_001], groups["s", 2_000_002]
    (row,), _ = group_scores(made, groups)
    assert (row.masks, row.interval.mean) == (2, 0.5)
