"""Losses on mask logits at the decoder's resolution (paper, section 3 and appendix A)."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class LossWeights:
    """Weights of the terms; all >= 0. The default is the paper's, focal : dice = 20 : 1.

    focal: focal loss of the best mask (alpha 0.25, gamma 2), weight >= 0.
    bce: binary cross-entropy of the best mask, weight >= 0; milder than focal on empty masks.
    dice: Dice loss of the best mask, weight >= 0.
    iou: squared error of the predicted IoU, weight >= 0.
    all_iou: predict the IoU of every mask that came out, not only of the best one.
    similarity: mask losses of a helper head that sees only the picture, weight >= 0; from random
        weights it keeps the encoder from falling silent (see `similarity`).
    """

    focal: float = 20.0
    bce: float = 0.0
    dice: float = 1.0
    iou: float = 1.0
    all_iou: bool = False
    similarity: float = 0.0

    def __post_init__(self) -> None:
        for name in ("focal", "bce", "dice", "iou", "similarity"):
            if getattr(self, name) < 0:
                raise ValueError(f"loss weight {name} is {getattr(self, name)}; give at least 0")
        if self.focal + self.bce + self.dice == 0:
            raise ValueError("every mask loss has weight 0; give focal, bce or dice a weight")


def mask_loss(logits_PMhw: Tensor, targets_Phw: Tensor, weights: LossWeights) -> Tensor:
    """The weighted mask loss of every mask, (P, M).

    logits_PMhw: float. targets_Phw: float in [0, 1], the share of a cell that is foreground.
    """
    targets = targets_Phw[:, None].expand_as(logits_PMhw)
    loss = dice_loss(logits_PMhw, targets) * weights.dice
    if weights.focal or weights.bce:
        pointwise = F.binary_cross_entropy_with_logits(logits_PMhw, targets, reduction="none")
        if weights.bce:
            loss = loss + weights.bce * pointwise.mean(dim=(-2, -1))
        if weights.focal:
            loss = loss + weights.focal * _focal(logits_PMhw, targets, pointwise)
    return loss


def _focal(logits: Tensor, targets: Tensor, pointwise: Tensor) -> Tensor:
    """Focal loss with alpha 0.25 and gamma 2 (Lin et al., 2017), mean over cells."""
    probability = logits.sigmoid()
    agreement = probability * targets + (1 - probability) * (1 - targets)
    alpha = 0.25 * targets + 0.75 * (1 - targets)
    return (alpha * (1 - agreement) ** 2 * pointwise).mean(dim=(-2, -1))


def dice_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """1 − Dice with a smoothing of 1 cell (Milletari et al., 2016), over the last two axes."""
    probability = logits.sigmoid()
    overlap = (probability * targets).sum(dim=(-2, -1))
    total = probability.sum(dim=(-2, -1)) + targets.sum(dim=(-2, -1))
    return 1 - (2 * overlap + 1) / (total + 1)


@torch.no_grad()
def true_iou(logits_PMhw: Tensor, targets_Phw: Tensor) -> Tensor:
    """IoU of thresholded masks with the target at half coverage, (P, M); 0 if both are empty."""
    predicted = logits_PMhw > 0
    wanted = (targets_Phw >= 0.5)[:, None]
    overlap = (predicted & wanted).sum(dim=(-2, -1))
    union = (predicted | wanted).sum(dim=(-2, -1))
    return overlap / union.clamp(min=1)
