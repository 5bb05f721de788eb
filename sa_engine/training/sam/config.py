"""What a training run is told."""

from dataclasses import dataclass, field

from sa_engine.model.sizes import LITE_SIZES
from sa_engine.training.data.samples import PromptConfig
from sa_engine.training.optim_config import OptimConfig, Schedule

PRECISIONS = ("fp32", "bf16")


@dataclass(frozen=True, slots=True, kw_only=True)
class LossWeights:
    """Weights of the terms; all >= 0. The default is the paper's, focal : dice = 20 : 1.

    focal: focal loss of the best mask (alpha 0.25, gamma 2), weight >= 0.
    bce: binary cross-entropy of the best mask, weight >= 0; milder than focal on empty masks.
    balance: share of the cross-entropy in which a mask's foreground weighs as much as its
        background, [0, 1]; 0 weighs all cells alike, by which small masks count for little.
    dice: Dice loss of the best mask, weight >= 0.
    iou: squared error of the predicted IoU, weight >= 0.
    all_iou: predict the IoU of every mask that came out, not only of the best one.
    similarity: mask losses of a helper head that sees only the image, weight >= 0; from random
        weights it keeps the encoder from falling silent.
    """

    focal: float = 20.0
    bce: float = 0.0
    balance: float = 0.0
    dice: float = 1.0
    iou: float = 1.0
    all_iou: bool = False
    similarity: float = 0.0

    def __post_init__(self) -> None:
        for name in ("focal", "bce", "dice", "iou", "similarity"):
            if getattr(self, name) < 0:
                raise ValueError(f"loss weight {name} is {getattr(self, name)}; give at least 0")
        if not 0 <= self.balance <= 1:
            raise ValueError(f"balance is {self.balance}; give a value in [0, 1]")
        if self.focal + self.bce + self.dice == 0:
            raise ValueError("every mask loss has weight 0; give focal, bce or dice a weight")


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundsConfig:
    """How many rounds a mask gets.

    rounds: total, >= 1; the paper has 11.
    mask_only_rounds: rounds without a new point, the last among them, >= 0; the paper has 2.
    single_mask_first: weight of the loss of the single-mask output in round 1; the paper has 0,
        where that output first answers in round 2.
    inner_probability: chance that a correction is the innermost cell of the error region rather
        than a random one, [0, 1]; the paper draws at random, evaluation asks for the innermost.
    """

    rounds: int = 11
    mask_only_rounds: int = 2
    single_mask_first: float = 0.0
    inner_probability: float = 0.0

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
        if not 0 <= self.inner_probability <= 1:
            raise ValueError(
                f"inner_probability is {self.inner_probability}; give a value in [0, 1]"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """One run of training; the defaults are the paper's recipe.

    variant: the image encoder: vit_t, vit_b, vit_l, vit_h, lite0, lite1 or lite2.
    image_size: side of the model's square input, pixels, a multiple of 16 (lite: of 32).
    steps: optimizer steps.
    max_minutes: stop after so many minutes, though there are steps left, > 0; the schedule then
        runs to its end in that time, whatever speed the machine has. None for no limit.
    batch_images: images in a step, over all processes.
    micro_batch: images that go through the model at once in one process; by default all of them.
    seed: everything random follows from it.
    drop_path: stochastic depth of the encoder, [0, 1).
    freeze_encoder: train the prompt encoder and the mask decoder alone: less work a step, and what
        stands on the image encoder, a box detector say, fits the trained model as well.
    freeze_stages: the stem and so many first stages of a lite encoder's backbone, 0 to 7, stay as
        they are; 0 for none. Early stages cost most of a step and have least to learn.
    precision: "fp32" or "bf16" (autocast).
    compile_model: run encoder, decoder and losses through torch.compile.
    sync_norms: batch statistics over all processes rather than in each one.
    """

    variant: str = "vit_b"
    image_size: int = 1024
    steps: int = 90_000
    max_minutes: float | None = None
    batch_images: int = 256
    micro_batch: int | None = None
    seed: int = 0
    drop_path: float = 0.4
    freeze_encoder: bool = False
    freeze_stages: int = 0
    precision: str = "fp32"
    compile_model: bool = False
    sync_norms: bool = True
    prompts: PromptConfig = field(default_factory=PromptConfig)
    rounds: RoundsConfig = field(default_factory=RoundsConfig)
    losses: LossWeights = field(default_factory=LossWeights)
    optim: OptimConfig = field(default_factory=OptimConfig)

    def __post_init__(self) -> None:
        for name in ("steps", "batch_images", "image_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; give at least 1")
        if self.freeze_stages < 0:
            raise ValueError(f"freeze_stages is {self.freeze_stages}; give at least 0")
        if self.micro_batch is not None and self.micro_batch < 1:
            raise ValueError(f"micro_batch is {self.micro_batch}; give at least 1")
        if self.max_minutes is not None and not self.max_minutes > 0:
            raise ValueError(f"max_minutes is {self.max_minutes}; give a value above 0")
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision is {self.precision!r}; give fp32 or bf16")


@dataclass(frozen=True, slots=True, kw_only=True)
class AlignConfig:
    """How the encoder is fitted.

    variant: the new image encoder, lite0, lite1 or lite2.
    image_size: side of both models' square input, pixels, a multiple of 32.
    steps: optimizer steps.
    batch_images: images in a step.
    lr: peak learning rate of the neck, > 0; the backbone's is a quarter of it.
    warmup_steps: linear rise from 0, then half a cosine down to 0.
    min_scale: smallest side of a random crop as a share of the image's, (0, 1].
    seed: everything random follows from it.
    precision: "fp32" or "bf16" (autocast).
    """

    variant: str = "lite2"
    image_size: int = 512
    steps: int = 300
    batch_images: int = 8
    lr: float = 1e-3
    warmup_steps: int = 20
    min_scale: float = 0.5
    seed: int = 0
    precision: str = "fp32"

    def __post_init__(self) -> None:
        if self.variant not in LITE_SIZES:
            known = ", ".join(LITE_SIZES)
            raise ValueError(f"variant is {self.variant!r}; only {known} are aligned")
        for name in ("image_size", "steps", "batch_images"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; give at least 1")
        if self.warmup_steps < 0:
            raise ValueError(f"warmup_steps is {self.warmup_steps}; give at least 0")
        if not self.lr > 0:
            raise ValueError(f"lr is {self.lr}; give a value above 0")
        if not 0 < self.min_scale <= 1:
            raise ValueError(f"min_scale is {self.min_scale}; give a value in (0, 1]")
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision is {self.precision!r}; give fp32 or bf16")

    def lr_at(self, step: int) -> float:
        """The learning rate of a step, from 0."""
        falls = OptimConfig(
            lr=self.lr,
            warmup_steps=self.warmup_steps,
            schedule=Schedule.COSINE,
            final_lr_fraction=0,
        )
        return falls.lr_at(step, self.steps)
