"""Means, intervals and tables."""

from typing import Any

import numpy as np
import pytest

from sa_engine.evaluation.calibration import calibrate
from sa_engine.evaluation.points import Score
from sa_engine.evaluation.summary import OVER_SETS, summarise, table


def score(dataset: str, image: int, own: float, **changes: Any) -> Score:
    values: dict[str, Any] = {
        "dataset": dataset,
        "image_id": image,
        "mask_id": image * 10,
        "area": 100,
        "method": "model",
        "prompt": "1 point",
        "points": 1,
        "own_iou": own,
        "oracle_iou": own,
        "predicted_iou": own,
    }
    return Score(**{**values, **changes})


def test_means_by_set_and_over_sets():
    # The large set must not outweigh the small one.
    scores = [score("a", i, 0.2) for i in range(10)] + [score("b", 1, 0.8)]
    rows = {r.dataset: r for r in summarise(scores)}
    assert rows["a"].own.mean == pytest.approx(0.2)
    assert rows["b"].own.mean == pytest.approx(0.8)
    assert rows[OVER_SETS].own.mean == pytest.approx(0.5)
    assert rows[OVER_SETS].masks == 11


def test_one_set_has_no_row_over_sets():
    assert [r.dataset for r in summarise([score("a", 1, 0.5)])] == ["a"]


def test_the_interval_of_a_known_distribution():
    rng = np.random.default_rng(0)
    values = rng.random(400)
    row = summarise([score("a", i, float(v)) for i, v in enumerate(values)])[0]
    error = values.std() / np.sqrt(400)
    assert row.own.low == pytest.approx(values.mean() - 1.96 * error, abs=0.005)
    assert row.own.high == pytest.approx(values.mean() + 1.96 * error, abs=0.005)


def test_masks_of_one_picture_are_drawn_together():
    alone = [score("a", i, float(i % 2)) for i in range(100)]
    grouped = [score("a", i // 10, float(i // 10 % 2)) for i in range(100)]
    narrow, wide = summarise(alone)[0].own, summarise(grouped)[0].own
    assert narrow.mean == wide.mean == 0.5
    assert wide.high - wide.low > 2.5 * (narrow.high - narrow.low)


def test_boxes_come_after_points():
    scores = [
        score("a", 1, 0.5, prompt="box", points=0),
        score("a", 1, 0.4, prompt="3 points", points=3),
        score("a", 1, 0.3),
    ]
    assert [r.prompt for r in summarise(scores)] == ["1 point", "3 points", "box"]


def test_table():
    scores = [
        score("a", 1, 0.25, oracle_iou=0.5),
        score("a", 1, 0.75, method="other"),
        score("a", 2, 0.25, oracle_iou=0.5),
        score("a", 2, 0.75, method="other"),
    ]
    assert table(summarise(scores)) == (
        "set  prompt   masks                 model        model (oracle)                 other\n"
        "a    1 point      2  0.250 [0.250, 0.250]  0.500 [0.500, 0.500]  0.750 [0.750, 0.750]"
    )
    assert table(summarise(scores), markdown=True).splitlines()[1] == (
        "| --- | --- | ---: | ---: | ---: | ---: |"
    )


def test_calibration_by_hand():
    scores = [
        score("a", 1, 0.2, predicted_iou=0.15),
        score("a", 2, 0.4, predicted_iou=0.15),
        score("a", 3, 1.0, predicted_iou=0.95),
    ]
    found = calibrate(scores)
    assert [(b.masks, round(b.predicted, 3), round(b.true, 3)) for b in found.bins] == [
        (2, 0.15, 0.3),
        (1, 0.95, 1.0),
    ]
    assert found.error == pytest.approx((2 * 0.15 + 0.05) / 3)
    assert found.pearson == pytest.approx(np.corrcoef([0.15, 0.15, 0.95], [0.2, 0.4, 1.0])[0, 1])
    # Ranks 0.5, 0.5, 2 against 0, 1, 2.
    assert found.spearman == pytest.approx(3**0.5 / 2)


def test_a_constant_prediction_has_no_correlation():
    found = calibrate([score("a", i, i / 4, predicted_iou=0.5) for i in range(4)])
    assert found.pearson == found.spearman == 0.0
