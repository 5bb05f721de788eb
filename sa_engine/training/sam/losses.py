"""Losses on mask logits at the decoder's resolution (paper, section 3 and appendix A)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from sa_engine.training.sam.config import LossWeights


def mask_loss(logits_PMhw: Tensor, targets_Phw: Tensor, weights: LossWeights) -> Tensor:
    """The weighted mask loss of every mask, (P, M).

    logits_PMhw: float. targets_Phw: float in [0, 1], the share of a cell that is foreground.
    """
    targets = targets_Phw[:, None].expand_as(logits_PMhw)
    loss = dice_loss(logits_PMhw, targets) * weights.dice
    if weights.focal or weights.bce:
        pointwise = F.binary_cross_entropy_with_logits(logits_PMhw, targets, reduction="none")
        if weights.bce:
            loss = loss + weights.bce * _balanced(pointwise, targets, weights.balance)
        if weights.focal:
            loss = loss + weights.focal * _focal(logits_PMhw, targets, pointwise)
    return loss


def _balanced(pointwise: Tensor, targets: Tensor, share: float) -> Tensor:
    """The mean over cells, mixed with that of foreground's and background's own means."""
    plain = pointwise.mean(dim=(-2, -1))
    if not share:
        return plain
    cells = targets.shape[-2] * targets.shape[-1]
    foreground = targets.sum(dim=(-2, -1))
    inside = (pointwise * targets).sum(dim=(-2, -1))
    outside = plain * cells - inside
    # A cell at least, so that an empty side costs nothing rather than everything.
    mean_inside = inside / foreground.clamp(min=1.0)
    mean_outside = outside / (cells - foreground).clamp(min=1.0)
    return (1 - share) * plain + share * 0.5 * (mean_inside + mean_outside)


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
