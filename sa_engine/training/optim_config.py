"""The optimizer and its schedule, as a run is told."""

import math
from dataclasses import dataclass
from enum import StrEnum


class Schedule(StrEnum):
    """How the learning rate falls after warm-up."""

    STEP = "step"
    COSINE = "cosine"
    CONSTANT = "constant"


class Algorithm(StrEnum):
    """What makes a step of a gradient."""

    ADAMW = "adamw"
    MUON = "muon"


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimConfig:
    """The optimizer and its schedule; defaults are the paper's (appendix A, "Training recipe").

    optimizer: "adamw", or "muon", which gains more a step from random weights, at a cost of its own
        that small batches feel.
    lr: peak learning rate, > 0.
    betas: decay of AdamW's two moments.
    weight_decay: a step's decay as a share of its learning rate, >= 0.
    layer_decay: each encoder layer learns this much slower than the next, (0, 1]; 1 from scratch.
    backbone_lr_scale: share of the learning rate for the image encoder without its neck, > 0.
    decoder_lr_scale: share of it for the prompt encoder and the mask decoder, > 0.
    warmup_steps: linear rise from 0, steps.
    schedule: "step" divides by 10 at two points of the run, "cosine" falls smoothly, "constant"
        stays.
    step_fractions: where "step" divides, fractions of the run.
    final_lr_fraction: where "cosine" ends, a share of the peak, [0, 1].
    clip_norm: largest gradient norm, > 0; inf for none.
    ema_decay: the shipped weights are a moving average with this decay a step, [0, 1); 0 for none.
    """

    optimizer: Algorithm = Algorithm.ADAMW
    lr: float = 8e-4
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.1
    layer_decay: float = 0.8
    backbone_lr_scale: float = 1.0
    decoder_lr_scale: float = 1.0
    warmup_steps: int = 250
    schedule: Schedule = Schedule.STEP
    step_fractions: tuple[float, ...] = (2 / 3, 0.963)
    final_lr_fraction: float = 0.01
    clip_norm: float = math.inf
    ema_decay: float = 0.0

    def __post_init__(self) -> None:
        if not self.lr > 0:
            raise ValueError(f"lr is {self.lr}; give a value above 0")
        for name in ("backbone_lr_scale", "decoder_lr_scale"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}; give a value above 0")
        if not 0 < self.layer_decay <= 1:
            raise ValueError(f"layer_decay is {self.layer_decay}; give a value in (0, 1]")
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"ema_decay is {self.ema_decay}; give a value in [0, 1)")
        if not self.clip_norm > 0:
            raise ValueError(f"clip_norm is {self.clip_norm}; give a value above 0")
        if self.warmup_steps < 0:
            raise ValueError(f"warmup_steps is {self.warmup_steps}; give at least 0")

    def lr_at(self, step: int, steps: int) -> float:
        """The learning rate of step `step` (from 0) of `steps`."""
        if step < self.warmup_steps:
            return self.lr * (step + 1) / self.warmup_steps
        match self.schedule:
            case Schedule.STEP:
                return self.lr * 0.1 ** sum(step >= f * steps for f in self.step_fractions)
            case Schedule.COSINE:
                done = (step - self.warmup_steps) / max(1, steps - self.warmup_steps)
                low = self.final_lr_fraction
                return self.lr * (low + (1 - low) * 0.5 * (1 + math.cos(math.pi * done)))
            case Schedule.CONSTANT:
                return self.lr
