"""Shares of pairs by hand, with intervals over images."""

import json
import math

import numpy as np
import pytest

from sa_engine.evaluation.audit import AuditedMask, audit_figures, audit_rows


def mask(
    image: int, iou: float | None, area: int = 2000, score: float | None = 0.95
) -> AuditedMask:
    return AuditedMask(
        image_id=image,
        mask_id=image * 1_000_000 + 1,
        source="a.jpg",
        stage="automatic",
        area=area,
        predicted_iou=score,
        iou=iou,
        boundary_iou=None if iou is None else iou / 2,
    )


def test_shares_by_hand() -> None:
    masks = [mask(1, 0.95), mask(1, 0.9), mask(2, 0.8, area=100, score=None), mask(2, None)]
    rows = {(row.kind, row.group): row for row in audit_rows(masks)}
    every = rows["all", ""]
    assert (every.masks, every.deleted) == (4, 1)
    assert every.over_90 is not None and every.over_75 is not None
    # 0.9 itself is not over 0.9; the deleted one counts only where it is counted as wrong.
    assert every.over_90.mean == pytest.approx(1 / 3)
    assert every.over_75.mean == 1
    assert every.over_90_of_all.mean == 0.25
    assert every.mean_boundary_iou is not None
    assert every.mean_boundary_iou.mean == pytest.approx((0.95 + 0.9 + 0.8) / 6)
    assert list(rows)[1:] == [
        ("stage", "automatic"),
        ("size", "small"),
        ("size", "medium"),
        ("predicted IoU", "0.9 to 1.0"),
        ("predicted IoU", "none"),
    ]
    assert math.isnan(rows["size", "small"].over_90_of_all.low)


def test_the_interval_holds_the_true_share() -> None:
    rng = np.random.default_rng(1)
    masks = [mask(image, float(rng.random() < 0.9)) for image in range(100) for _ in range(3)]
    (every, *_) = audit_rows(masks)
    assert every.over_90 is not None
    assert every.over_90.low < 0.9 < every.over_90.high
    assert every.over_90.high - every.over_90.low < 0.1


def test_the_interval_is_wider_than_that_of_single_masks() -> None:
    rng = np.random.default_rng(0)
    masks = []
    for image in range(60):
        # Masks of one image are alike.
        iou = 0.95 if rng.random() < 0.7 else 0.5
        masks += [mask(image, iou) for _ in range(10)]
    (every, *_) = audit_rows(masks)
    assert every.over_90 is not None
    share, width = every.over_90.mean, every.over_90.high - every.over_90.low
    assert width == pytest.approx(2 * 1.96 * np.sqrt(share * (1 - share) / 60), rel=0.15)


def test_figures_are_json() -> None:
    found = audit_figures([mask(1, 0.99), mask(1, None)])
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert (found["masks"], found["deleted"], found["unchanged"]) == (2, 1, 1)
    assert found["rows"][0]["over_90"] == {"mean": 1.0, "low": None, "high": None}
    assert audit_figures([])["rows"] == []


def test_all_deleted_and_nothing() -> None:
    (every, *_) = audit_rows([mask(1, None), mask(2, None)])
    assert every.over_90 is None
    assert every.over_90_of_all.mean == 0
    assert audit_rows([]) == []
