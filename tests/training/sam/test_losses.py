"""Losses on hand-written masks."""

import math

import pytest
import torch

from sa_engine.training.sam.config import LossWeights
from sa_engine.training.sam.losses import dice_loss, mask_loss, true_iou

SURE = 40.0
TARGET = torch.tensor([[[1.0, 1.0], [0.0, 0.0]]])


def logits(rows: list[list[float]]) -> torch.Tensor:
    return torch.tensor([[rows]])


def test_a_perfect_mask_costs_nothing():
    weights = LossWeights(focal=20, bce=2, dice=1)
    loss = mask_loss(logits([[SURE, SURE], [-SURE, -SURE]]), TARGET, weights)
    assert loss.item() == pytest.approx(0.0, abs=1e-6)


def test_dice_by_hand():
    # Probabilities 1, 0, 0, 0 against 1, 1, 0, 0: 1 − (2·1 + 1) / (1 + 2 + 1).
    found = dice_loss(logits([[SURE, -SURE], [-SURE, -SURE]]), TARGET[:, None])
    assert found.item() == pytest.approx(0.25, abs=1e-6)


def test_focal_by_hand():
    # At logit 0 every p is 1/2: mean alpha is (0.25 + 0.75) / 2, times 1/4, times ln 2.
    weights = LossWeights(focal=1, dice=0)
    found = mask_loss(torch.zeros(1, 1, 2, 2), TARGET, weights)
    assert found.item() == pytest.approx(0.5 * 0.25 * math.log(2), rel=1e-6)


def test_bce_by_hand():
    weights = LossWeights(focal=0, bce=1, dice=0)
    found = mask_loss(torch.zeros(1, 3, 2, 2), TARGET, weights)
    assert found.shape == (1, 3)
    assert found[0, 0].item() == pytest.approx(math.log(2), rel=1e-6)


def test_iou_by_hand():
    # Predicted: first column; wanted: first row. One cell of three in common.
    found = true_iou(logits([[1.0, -1.0], [1.0, -1.0]]), TARGET)
    assert found.item() == pytest.approx(1 / 3)


def test_iou_of_two_empty_masks_is_zero():
    assert true_iou(torch.full((1, 1, 2, 2), -1.0), torch.zeros(1, 2, 2)).item() == 0.0


def test_weights_are_checked():
    with pytest.raises(ValueError, match="dice is -1"):
        LossWeights(dice=-1)
    with pytest.raises(ValueError, match="every mask loss has weight 0"):
        LossWeights(focal=0, dice=0)
    with pytest.raises(ValueError, match="balance is 2"):
        LossWeights(balance=2)


def test_balanced_cross_entropy_by_hand():
    # Foreground of one cell of four, which is wrong; the three others are right.
    target = torch.tensor([[[1.0, 0.0], [0.0, 0.0]]])
    wrong = logits([[-1.0, -SURE], [-SURE, -SURE]])
    cost = math.log(1 + math.e)
    for share, expected in ((0.0, cost / 4), (1.0, cost / 2), (0.5, cost * 3 / 8)):
        weights = LossWeights(focal=0, bce=1, dice=0, balance=share)
        assert mask_loss(wrong, target, weights).item() == pytest.approx(expected, rel=1e-5)
    empty = mask_loss(wrong, torch.zeros(1, 2, 2), LossWeights(focal=0, bce=1, dice=0, balance=1))
    assert empty.isfinite().all()
