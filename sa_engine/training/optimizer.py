"""The optimizer with layer-wise learning rates, and a moving average of the weights."""

import re

import torch
from torch import Tensor, nn

from sa_engine.training.muon import MATRIX, Muon, is_matrix
from sa_engine.training.optim_config import Algorithm, OptimConfig

_UNDECAYED = re.compile(
    r"attention_biases|pos_embed|rel_pos|iou_token|mask_tokens|"
    r"point_embeddings|not_a_point_embed|no_mask_embed"
)
_TINY_VIT_LAYER = re.compile(r"image_encoder\.layers\.(\d+)\.blocks\.(\d+)\.")
_TINY_VIT_STEP = re.compile(r"image_encoder\.layers\.(\d+)\.downsample\.")
_LITE_LAYER = re.compile(r"image_encoder\.backbone\.stages\.(\d+)\.(\d+)\.")
_VIT_LAYER = re.compile(r"image_encoder\.blocks\.(\d+)\.")


def build_optimizer(
    model: nn.Module, config: OptimConfig, helper: nn.Module | None = None
) -> torch.optim.AdamW:
    """AdamW or Muon; every group carries `lr_scale`, its share of the scheduled learning rate.

    Biases, norms, embeddings and positions are not decayed, nor orthogonalised by Muon. `helper` is
    trained along.
    """
    depths = encoder_depths(model)
    deepest = max(depths.values(), default=0) + 1
    turns = config.optimizer is Algorithm.MUON
    groups: dict[tuple[float, float, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        scale = config.layer_decay ** (deepest - depths[name]) if name in depths else 1.0
        scale *= _part_scale(name, config)
        decays = parameter.dim() > 1 and not _UNDECAYED.search(name)
        decay = config.weight_decay if decays else 0.0
        matrix = turns and decays and is_matrix(parameter)
        groups.setdefault((scale, decay, matrix), []).append(parameter)
    if helper is not None:
        groups.setdefault((1.0, 0.0, False), []).extend(helper.parameters())
    kind = Muon if turns else torch.optim.AdamW
    return kind(
        [
            {"params": parameters, "lr_scale": scale, "weight_decay": decay, MATRIX: matrix}
            for (scale, decay, matrix), parameters in groups.items()
        ],
        lr=config.lr,
        betas=config.betas,
        fused=True,
    )


def _part_scale(name: str, config: OptimConfig) -> float:
    """A parameter's share of the learning rate by the part of the model that it is in."""
    if not name.startswith("image_encoder."):
        return config.decoder_lr_scale
    return 1.0 if name.startswith("image_encoder.neck.") else config.backbone_lr_scale


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Give every group its share of `lr`."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_scale"]


def encoder_depths(model: nn.Module) -> dict[str, int]:
    """The depth of each parameter of the image encoder, 0 for the patch embedding or the stem."""
    names = [n for n, _ in model.named_parameters() if n.startswith("image_encoder.")]
    stages: dict[int, int] = {}
    for name in names:
        if found := _TINY_VIT_LAYER.match(name) or _LITE_LAYER.match(name):
            stage, block = int(found[1]), int(found[2])
            stages[stage] = max(stages.get(stage, 0), block + 1)
    before = {stage: sum(n for s, n in stages.items() if s < stage) for stage in stages}
    depths: dict[str, int] = {}
    for name in names:
        if found := _TINY_VIT_LAYER.match(name) or _LITE_LAYER.match(name):
            depths[name] = before[int(found[1])] + int(found[2]) + 1
        elif found := _TINY_VIT_STEP.match(name):
            depths[name] = before[int(found[1])] + stages[int(found[1])]
        elif found := _VIT_LAYER.match(name):
            depths[name] = int(found[1]) + 1
        elif "patch_embed" in name or "pos_embed" in name or ".stem." in name:
            depths[name] = 0
    # The neck follows the last block.
    last = max(depths.values(), default=0) + 1
    return {name: depths.get(name, last) for name in names}


class MovingAverage:
    """An exponential moving average of a model's weights, warmed up over the first steps.

    Integer buffers are copied. With decay 0 it is a copy of the last step.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._decay = decay
        self.weights = {name: value.detach().clone() for name, value in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Take in the weights after step `step` (from 0)."""
        decay = min(self._decay, (1 + step) / (10 + step)) if self._decay else 0.0
        averaged: list[Tensor] = []
        current: list[Tensor] = []
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                averaged.append(self.weights[name])
                current.append(value.detach())
            else:
                self.weights[name].copy_(value)
        torch._foreach_lerp_(averaged, current, 1 - decay)
