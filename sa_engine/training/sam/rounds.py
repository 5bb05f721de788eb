"""Interactive training: rounds of prompt, mask, correction (paper, appendix A).

Round 1 gives a point or a box and takes three masks; later rounds add a point from the error
region, feed the last logits back and take the single mask. Two rounds bring no new point, only the
logits: one at random in the middle, one last.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from sa_engine.model.embedding import ImageEmbedding
from sa_engine.model.mask_decoder import NUM_MASKS, ImageContext
from sa_engine.model.prompts import FOREGROUND, Prompts
from sa_engine.model.sam import Sam
from sa_engine.training.sam.clicks import error_points, hashed_uniform
from sa_engine.training.sam.losses import LossWeights, mask_loss, true_iou
from sa_engine.training.sam.similarity import ClickSimilarity


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundsConfig:
    """How many rounds a mask gets.

    rounds: total, >= 1; the paper has 11.
    mask_only_rounds: rounds without a new point, the last among them, >= 0; the paper has 2.
    single_mask_first: weight of the loss of the single-mask output in round 1; the paper has 0,
        where that output first answers in round 2.
    """

    rounds: int = 11
    mask_only_rounds: int = 2
    single_mask_first: float = 0.0

    def __post_init__(self) -> None:
        if self.rounds < 1:
            raise ValueError(f"rounds is {self.rounds}; give at least 1")
        if not 0 <= self.mask_only_rounds < max(self.rounds, 1):
            raise ValueError(
                f"mask_only_rounds is {self.mask_only_rounds}; "
                f"give at least 0 and less than rounds ({self.rounds})"
            )
        if self.single_mask_first < 0:
            raise ValueError(f"single_mask_first is {self.single_mask_first}; give at least 0")


@dataclass(frozen=True, slots=True)
class Batch:
    """B pictures with P prompts each, as `Sample` but stacked; targets float in [0, 1]."""

    images_B3SS: Tensor
    targets_BPhw: Tensor
    points_BP2: Tensor
    boxes_BP4: Tensor
    box_first_BP: Tensor
    keys_B: Tensor

    def pin_memory(self) -> "Batch":
        """The batch in memory that a GPU reads directly; called by torch's data loader."""
        return Batch(*(getattr(self, f.name).pin_memory() for f in fields(self)))


@dataclass(frozen=True, slots=True)
class RoundsResult:
    """What a batch gave, sums over prompts; divide by `prompts`.

    loss: differentiable; the mean over prompts and rounds.
    first_best_iou: of the best of three masks of round 1. first_own_iou: of the one predicted best.
    last_iou: after the last round. iou_error: absolute error of predicted IoU in round 1.
    """

    loss: Tensor
    first_best_iou: Tensor
    first_own_iou: Tensor
    last_iou: Tensor
    iou_error: Tensor
    prompts: int


def run_rounds(
    sam: Sam,
    batch: Batch,
    *,
    config: RoundsConfig,
    weights: LossWeights,
    step: int,
    similarity: ClickSimilarity | None = None,
) -> RoundsResult:
    """Encode the pictures once and play all rounds for all their prompts.

    step: varies the points between visits of one sample.
    similarity: the helper head, where its loss has a weight.
    """
    embedding = sam.encode_image(sam.preprocess(batch.images_B3SS))
    images, count = batch.targets_BPhw.shape[:2]
    device = embedding.device
    index_P = torch.arange(images, device=device).repeat_interleave(count)
    keys_P = (batch.keys_B[:, None] * 4099 + torch.arange(count, device=device)).flatten()
    box_first_P = batch.box_first_BP.flatten()
    results: list[RoundsResult] = []
    # Prompts that start with a box and prompts that start with a point have other tokens.
    for boxes_first in (False, True):
        group_K = torch.nonzero(box_first_P == boxes_first)[:, 0]
        if not len(group_K):
            continue
        start = _Start(
            embedding,
            index_P[group_K],
            batch.targets_BPhw.flatten(0, 1)[group_K],
            None if boxes_first else batch.points_BP2.flatten(0, 1)[group_K],
            batch.boxes_BP4.flatten(0, 1)[group_K] if boxes_first else None,
            keys_P[group_K],
        )
        results.append(_play(sam, start, config=config, weights=weights, step=step))
    total = _total(results)
    if similarity is None:
        return total
    points_P2 = batch.points_BP2.flatten(0, 1)
    logits_Phw = similarity(sam, embedding.coarse_BCHW, points_P2, index_P)
    helped = mask_loss(logits_Phw[:, None], batch.targets_BPhw.flatten(0, 1), weights).mean()
    return replace(total, loss=total.loss + weights.similarity * helped)


@dataclass(frozen=True, slots=True)
class _Start:
    """Prompts of one kind before round 1."""

    embedding: ImageEmbedding
    image_index_P: Tensor
    targets_Phw: Tensor
    points_P2: Tensor | None
    boxes_P4: Tensor | None
    keys_P: Tensor


def mask_only_schedule(config: RoundsConfig, key: int) -> frozenset[int]:
    """The rounds (from 0) that bring no new point: the last, and others by the key."""
    if not config.mask_only_rounds:
        return frozenset()
    middle = config.rounds - 2
    order = hashed_uniform(torch.tensor([key]), max(middle, 1), salt=77)[0].argsort()
    chosen = [1 + int(i) for i in order[: min(config.mask_only_rounds - 1, max(middle, 0))]]
    return frozenset([config.rounds - 1, *chosen])


def _play(
    sam: Sam, start: _Start, *, config: RoundsConfig, weights: LossWeights, step: int
) -> RoundsResult:
    with torch.autocast(sam.device.type, enabled=False):
        image_pe = sam.prompt_encoder.image_pe()
    context = sam.mask_decoder.prepare(start.embedding, image_pe)
    targets_Phw, keys_P = start.targets_Phw, start.keys_P
    points = labels = None
    if start.points_P2 is not None:
        points = start.points_P2[:, None]
        labels = torch.full_like(points[..., 0], FOREGROUND, dtype=torch.long)
    fed_back: Tensor | None = None
    skipped = mask_only_schedule(config, step)
    total = targets_Phw.new_zeros(())
    first_best = first_own = last = error = total
    for turn in range(config.rounds):
        if turn and turn not in skipped and fed_back is not None:
            salt = step * 64 + turn
            new, label = error_points(fed_back[:, 0], targets_Phw, keys_P=keys_P, salt=salt)
            points = new[:, None] if points is None else torch.cat([points, new[:, None]], dim=1)
            labels = (
                label[:, None] if labels is None else torch.cat([labels, label[:, None]], dim=1)
            )
        prompts = Prompts(
            points_PN2=points, labels_PN=labels, boxes_P4=start.boxes_P4, masks_P1HW=fed_back
        )
        first = turn == 0
        logits, predicted = _decode(sam, context, prompts, start.image_index_P, first=first)
        loss, iou = _turn_loss(logits, predicted, targets_Phw, weights, config, first=first)
        total = total + loss
        candidates = slice(1, 4) if first else slice(0, 1)
        own = predicted[:, candidates].argmax(dim=1, keepdim=True)
        if first:
            first_best = iou[:, 1:4].amax(dim=1).sum()
            first_own = iou[:, 1:4].gather(1, own).sum()
            error = (predicted[:, 1:4].detach() - iou[:, 1:4]).abs().mean(dim=1).sum()
        last = iou[:, candidates].gather(1, own).sum()
        index = own[:, :, None, None].expand(-1, -1, *logits.shape[-2:])
        # A copy without its history: corrections learn from what was said, not from how.
        fed_back = logits[:, candidates].gather(1, index).detach()
    loss = total / config.rounds
    return RoundsResult(loss, first_best, first_own, last, error, len(targets_Phw))


def _decode(
    sam: Sam, context: ImageContext, prompts: Prompts, image_index_P: Tensor, *, first: bool
) -> tuple[Tensor, Tensor]:
    """Logits and predicted IoU: of all four masks in round 1, of the single mask later."""
    with torch.autocast(sam.device.type, enabled=False):
        # Positions need float32: bfloat16 cannot tell neighbouring pixels apart.
        sparse, dense = sam.prompt_encoder(prompts)
    tokens = sam.mask_decoder.attend(context, sparse, dense, image_index_P=image_index_P)
    number = NUM_MASKS if first else 1
    each = torch.arange(len(prompts), device=sparse.device)
    which = torch.arange(number, device=sparse.device).repeat(len(prompts))
    logits = sam.mask_decoder.masks(tokens, each.repeat_interleave(number), which)
    shaped = logits.view(len(prompts), number, *logits.shape[-2:])
    return shaped, tokens.iou_P4[:, :number]


def _turn_loss(
    logits_PMhw: Tensor,
    predicted_PM: Tensor,
    targets_Phw: Tensor,
    weights: LossWeights,
    config: RoundsConfig,
    *,
    first: bool,
) -> tuple[Tensor, Tensor]:
    """The summed loss over prompts of one round, and each mask's true IoU (P, M)."""
    losses = mask_loss(logits_PMhw, targets_Phw, weights)
    iou = true_iou(logits_PMhw, targets_Phw)
    squared = (predicted_PM - iou) ** 2 * weights.iou
    if not first:
        return (losses[:, 0] + squared[:, 0]).sum(), iou
    best = losses[:, 1:4].argmin(dim=1, keepdim=True)
    chosen = losses[:, 1:4].gather(1, best)[:, 0]
    scored = (
        squared[:, 1:4].mean(dim=1) if weights.all_iou else squared[:, 1:4].gather(1, best)[:, 0]
    )
    loss = (chosen + scored).sum()
    if config.single_mask_first:
        loss = loss + config.single_mask_first * (losses[:, 0] + squared[:, 0]).sum()
    return loss, iou


def _total(results: Sequence[RoundsResult]) -> RoundsResult:
    prompts = sum(r.prompts for r in results)
    return RoundsResult(
        torch.stack([r.loss for r in results]).sum() / prompts,
        torch.stack([r.first_best_iou for r in results]).sum(),
        torch.stack([r.first_own_iou for r in results]).sum(),
        torch.stack([r.last_iou for r in results]).sum(),
        torch.stack([r.iou_error for r in results]).sum(),
        prompts,
    )
