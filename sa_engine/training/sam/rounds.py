"""Interactive training: rounds of prompt, mask, correction (paper, appendix A).

Round 1 gives a point or a box and takes three masks; later rounds add a point from the error
region, feed the last logits back and take the single mask. Two rounds bring no new point, only the
logits: one at random in the middle, one last.

Nothing here waits for the device: no value is read, and no shape depends on one, so that a GPU
always has the next steps' work queued.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from sa_engine.model.mask_decoder import NUM_MASKS, ImageContext, MaskDecoder
from sa_engine.model.prompt_encoder import PromptEncoder
from sa_engine.model.prompts import BOX_FIRST, BOX_SECOND, FOREGROUND, PADDING, Prompts
from sa_engine.model.sam import Sam
from sa_engine.training.data.samples import Sample
from sa_engine.training.sam.clicks import error_points, hashed_uniform
from sa_engine.training.sam.config import LossWeights, RoundsConfig
from sa_engine.training.sam.losses import mask_loss, true_iou
from sa_engine.training.sam.similarity import ClickSimilarity

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Batch:
    """B images with P prompts each, as `Sample` but stacked; targets float in [0, 1]."""

    images_B3SS: Tensor
    targets_BPhw: Tensor
    points_BP2: Tensor
    boxes_BP4: Tensor
    box_first_BP: Tensor
    keys_B: Tensor

    @classmethod
    def of(cls, samples: Sequence[Sample]) -> "Batch":
        """Samples as one batch; pixels and targets as bytes still."""
        return cls(
            torch.from_numpy(np.stack([s.image_3SS for s in samples])),
            torch.from_numpy(np.stack([s.targets_Phw for s in samples])),
            torch.from_numpy(np.stack([s.points_P2 for s in samples])),
            torch.from_numpy(np.stack([s.boxes_P4 for s in samples])),
            torch.from_numpy(np.stack([s.box_first_P for s in samples])),
            torch.tensor([s.key for s in samples], dtype=torch.int64),
        )

    def to(self, device: torch.device) -> "Batch":
        """The batch on a device, pixels as floats and targets, floats in [0, 1]."""
        moved = (getattr(self, f.name).to(device, non_blocking=True) for f in fields(self))
        images, targets, *rest = moved
        return Batch(images.float(), targets.float() / 255, *rest)

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


TurnLoss = Callable[..., tuple[Tensor, Tensor]]
"""`turn_loss`, or what torch.compile made of it."""


def run_rounds(
    sam: Sam,
    batch: Batch,
    *,
    config: RoundsConfig,
    weights: LossWeights,
    step: int,
    similarity: ClickSimilarity | None = None,
    precision: torch.dtype = torch.float32,
    loss_of_turn: TurnLoss | None = None,
) -> RoundsResult:
    """Encode the images once and play all rounds for all their prompts.

    step: varies the points between visits of one sample.
    similarity: the helper head, where its loss has a weight.
    precision: float32, or bfloat16: the encoder by autocast, the decoder with its weights cast.
    """
    device_type = sam.device.type
    with torch.autocast(device_type, precision, enabled=precision != torch.float32):
        embedding = sam.encode_image(sam.preprocess(batch.images_B3SS))

    def play(decoder: MaskDecoder) -> RoundsResult:
        context = decoder.prepare(embedding, sam.prompt_encoder.image_pe())
        game = _Game(sam.prompt_encoder, decoder, context, precision, loss_of_turn or turn_loss)
        return _play(game, batch, config=config, weights=weights, step=step)

    result = cast_for(sam.mask_decoder, precision, play)
    if similarity is None:
        return result
    images, count = batch.targets_BPhw.shape[:2]
    index_P = torch.arange(images, device=sam.device).repeat_interleave(count)
    points_P2 = batch.points_BP2.flatten(0, 1)
    with torch.autocast(device_type, precision, enabled=precision != torch.float32):
        logits_Phw = similarity(sam, embedding.coarse_BCHW, points_P2, index_P)
    helped = mask_loss(logits_Phw[:, None], batch.targets_BPhw.flatten(0, 1), weights).mean()
    return replace(result, loss=result.loss + weights.similarity * helped)


class _Used(nn.Module):
    """A module whose forward pass is whatever is done with it."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, use: Callable[[nn.Module], T]) -> T:
        return use(self.module)


def cast_for(module: MaskDecoder, dtype: torch.dtype, use: Callable[[MaskDecoder], T]) -> T:
    """`use(module)` with its weights cast once to `dtype`; gradients reach the weights themselves.

    Autocast would cast at each use and take every normalisation through float32, which for image
    tokens is more traffic than all of their arithmetic.
    """
    if dtype == torch.float32:
        return use(module)
    cast = {f"module.{name}": p.to(dtype) for name, p in module.named_parameters()}
    result: T = torch.func.functional_call(_Used(module), cast, (use,))
    return result


def mask_only_schedule(config: RoundsConfig, key: int) -> frozenset[int]:
    """The rounds (from 0) that bring no new point: the last, and others by the key."""
    if not config.mask_only_rounds:
        return frozenset()
    middle = config.rounds - 2
    order = hashed_uniform(torch.tensor([key]), max(middle, 1), salt=77)[0].argsort()
    chosen = [1 + int(i) for i in order[: min(config.mask_only_rounds - 1, max(middle, 0))]]
    return frozenset([config.rounds - 1, *chosen])


def first_points(batch: Batch) -> tuple[Tensor, Tensor]:
    """Round 1 as two points for each prompt: points (P, 2, 2) and labels (P, 2).

    A prompt that starts with a box gives its corners, one that starts with a point that and the
    padding that the published model adds, so that both have as many tokens in every round.
    """
    corners_P22 = batch.boxes_BP4.flatten(0, 1).view(-1, 2, 2)
    point_P12 = batch.points_BP2.flatten(0, 1)[:, None]
    by_box_P1 = batch.box_first_BP.flatten()[:, None]
    alone_P22 = torch.cat([point_P12, torch.zeros_like(point_P12)], dim=1)
    points = torch.where(by_box_P1[..., None], corners_P22, alone_P22)
    first = torch.where(by_box_P1, BOX_FIRST, FOREGROUND)
    second = torch.where(by_box_P1, BOX_SECOND, PADDING)
    return points, torch.cat([first, second], dim=1)


@dataclass(frozen=True, slots=True)
class _Game:
    """What plays the rounds of a batch: its images are in `context`."""

    prompt_encoder: PromptEncoder
    decoder: MaskDecoder
    context: ImageContext
    precision: torch.dtype
    loss_of_turn: TurnLoss

    def answer(self, prompts: Prompts, masks: int) -> tuple[Tensor, Tensor]:
        """Logits of the first `masks` masks of each prompt, (P, M, h, w), and predicted IoU."""
        kind = self.context.tiles_BnC[0].device.type
        with torch.autocast(kind, self.precision, enabled=self.precision != torch.float32):
            # Positions stay in float32: autocast casts no sines and no plain products.
            sparse, dense = self.prompt_encoder(prompts)
        tokens = self.decoder.attend(self.context, sparse, dense)
        return self.decoder.draw(tokens, slice(0, masks)), tokens.iou_P4[:, :masks]


def _play(
    game: _Game, batch: Batch, *, config: RoundsConfig, weights: LossWeights, step: int
) -> RoundsResult:
    targets_Phw = batch.targets_BPhw.flatten(0, 1)
    position_P = torch.arange(batch.targets_BPhw.shape[1], device=targets_Phw.device)
    keys_P = (batch.keys_B[:, None] * 4099 + position_P).flatten()
    points, labels = first_points(batch)
    fed_back: Tensor | None = None
    skipped = mask_only_schedule(config, step)
    total = targets_Phw.new_zeros(())
    first_best = first_own = last = error = total
    for turn in range(config.rounds):
        if turn not in skipped and fed_back is not None:
            new, label = error_points(
                fed_back[:, 0],
                targets_Phw,
                keys_P=keys_P,
                salt=step * 64 + turn,
                inner_probability=config.inner_probability,
            )
            points = torch.cat([points, new[:, None]], dim=1)
            labels = torch.cat([labels, label[:, None]], dim=1)
        prompts = Prompts(points_PN2=points, labels_PN=labels, masks_P1HW=fed_back, padded=True)
        first = turn == 0
        logits, predicted = game.answer(prompts, NUM_MASKS if first else 1)
        loss, iou = game.loss_of_turn(logits, predicted, targets_Phw, weights, config, first=first)
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
    prompts_played = len(targets_Phw)
    loss = total / (config.rounds * prompts_played)
    return RoundsResult(loss, first_best, first_own, last, error, prompts_played)


def turn_loss(
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
