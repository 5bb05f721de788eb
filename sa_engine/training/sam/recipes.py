"""Named recipes: whole configurations to start from."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from sa_engine.training.data.photos import JitterConfig
from sa_engine.training.data.samples import PromptConfig
from sa_engine.training.data.scene_config import SceneConfig
from sa_engine.training.optim_config import OptimConfig, Schedule
from sa_engine.training.sam.config import LossWeights, RoundsConfig, TrainConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A configuration of training and of how images are varied.

    mask_area_power: see `PhotoSource`.
    synthetic: share of synthetic scenes, [0, 1]. scenes: how they are composed.
    needs_start: whether it trains weights that know something already.
    """

    train: TrainConfig
    jitter: JitterConfig
    mask_area_power: float = 0.0
    synthetic: float = 0.0
    scenes: SceneConfig = field(default_factory=SceneConfig)
    needs_start: bool = False


def paper() -> Recipe:
    """The published recipe: a pretrained encoder, 256 images a step, 11 rounds."""
    return Recipe(train=TrainConfig(), jitter=JitterConfig())


def scratch() -> Recipe:
    """From random weights, where the published losses collapse to empty masks.

    A balanced loss and a helper that sees the image alone, no layer decay, few rounds, a moving
    average of the weights, and images that fill the model's input. The learning rate suits its
    small batch: at 8e-4 such runs stood still where at 2e-4 they went on learning. With two rounds
    of clicks the answers to five points and more got worse than those to three.
    """
    return Recipe(
        train=TrainConfig(
            variant="vit_t",
            image_size=224,
            steps=3000,
            batch_images=8,
            drop_path=0.0,
            prompts=PromptConfig(masks_per_image=10, box_probability=0.2, centre_probability=0.5),
            rounds=RoundsConfig(rounds=3, mask_only_rounds=0, single_mask_first=0.3),
            losses=LossWeights(focal=0.0, bce=2.0, dice=1.0, iou=1.0, all_iou=True, similarity=1.0),
            optim=OptimConfig(
                lr=2e-4,
                betas=(0.9, 0.99),
                weight_decay=0.05,
                layer_decay=1.0,
                warmup_steps=50,
                schedule=Schedule.COSINE,
                clip_norm=1.0,
                ema_decay=0.997,
            ),
        ),
        jitter=JitterConfig(
            min_scale=0.8, max_scale=2.2, aspect=0.1, colour=0.6, grey_probability=0.05
        ),
        mask_area_power=0.25,
        synthetic=0.25,
    )


def finetune() -> Recipe:
    """From a model that works to one that knows a domain, on the few masks there are of it.

    The losses and images of `scratch` without what random weights need: no helper, no synthetic
    scenes, few steps of few images, and an average over the last of them only.
    """
    begun = scratch()
    optim = replace(
        begun.train.optim, lr=1e-4, warmup_steps=5, final_lr_fraction=0.01, ema_decay=0.95
    )
    train = replace(
        begun.train,
        steps=100,
        batch_images=4,
        prompts=replace(begun.train.prompts, masks_per_image=6),
        losses=replace(begun.train.losses, similarity=0.0),
        optim=optim,
    )
    return replace(begun, train=train, synthetic=0.0, needs_start=True)


def pretrained() -> Recipe:
    """From a lite encoder that was aligned with a model that works (`align`), or from ImageNet.

    The neck learns fastest, the decoder at half of its rate, the backbone at a quarter and without
    its early stages, which know what they need. A larger size and more rounds come at the end, with
    a lower rate: five rounds instead of two made the answers to nine clicks better at once.
    """
    begun = scratch()
    train = replace(
        begun.train,
        variant="lite2",
        image_size=384,
        steps=600,
        freeze_stages=4,
        prompts=replace(begun.train.prompts, masks_per_image=6),
        losses=LossWeights(focal=0.0, bce=1.0, balance=0.5, dice=1.0, iou=2.0, all_iou=True),
        optim=replace(
            begun.train.optim,
            lr=4e-4,
            warmup_steps=25,
            backbone_lr_scale=0.25,
            decoder_lr_scale=0.5,
            ema_decay=0.985,
        ),
    )
    return replace(begun, train=train, jitter=replace(begun.jitter, min_scale=0.6), synthetic=0.05)


def automatic() -> Recipe:
    """The published recipe of the model for automatic generation.

    Points and masks only, 4 points a mask, twice as long, large-scale jitter (paper, appendix B).
    The published one has a third decoder block, too; ours keeps the two that public files have.
    """
    return Recipe(
        train=TrainConfig(
            steps=180_000,
            prompts=PromptConfig(box_probability=0.0),
            rounds=RoundsConfig(rounds=4, mask_only_rounds=0),
        ),
        jitter=JitterConfig(),
    )


RECIPES: Mapping[str, Callable[[], Recipe]] = {
    "paper": paper,
    "scratch": scratch,
    "finetune": finetune,
    "pretrained": pretrained,
    "automatic": automatic,
}
