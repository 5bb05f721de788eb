"""Retraining: datasets in, a weights file out (the loop of the data engine, paper, section 4)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sa_engine.errors import UsageError
from sa_engine.model.card import ModelCard
from sa_engine.model.checkpoint import read_card
from sa_engine.model.device import choose_precision
from sa_engine.model.weights import bundled_model
from sa_engine.training.data.scene_config import SCENES
from sa_engine.training.distributed import training_place
from sa_engine.training.sam.recipes import RECIPES, Recipe
from sa_engine.training.sam.report import StepReport
from sa_engine.training.sam.session import TrainRequest, train_sam


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainOptions:
    """What `sa-engine train sam` was told.

    data: datasets. weights: by set or stage. out: the weights file. init: weights to start from;
        None for random ones, or for the bundled ones where the recipe needs a start.
    recipe: a name of RECIPES. changes: options by part of the recipe ("train", "optim", ...) and
        name; those not named keep the recipe's values.
    synthetic: share of synthetic scenes; None for the recipe's. scenes: a name of SCENES.
    device: "auto", "cpu", "cuda" or "mps". data_workers: processes that prepare samples.
    """

    data: Sequence[Path | str]
    out: Path
    weights: Mapping[str, float] = field(default_factory=dict)
    init: Path | None = None
    recipe: str = "paper"
    changes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    synthetic: float | None = None
    scenes: str | None = None
    mask_area_power: float | None = None
    name: str = ""
    device: str = "auto"
    data_workers: int = 0
    tensorboard: bool = False


def build_recipe(options: TrainOptions) -> Recipe:
    """The named recipe with the changes; encoder and input size are the start's, if not told.

    Raises UsageError, naming the option at fault.
    """
    recipe = RECIPES[options.recipe]()
    changes = {part: dict(values) for part, values in options.changes.items()}
    run: dict[str, Any] = {}
    start = start_of(options)
    if start is not None:
        card = read_card(start)
        run = {"variant": card.variant, "image_size": card.image_size}
    run |= changes.pop("train", {})
    try:
        jitter = replace(recipe.jitter, **changes.pop("jitter", {}))
        for part, values in changes.items():
            run[part] = replace(getattr(recipe.train, part), **values)
        train = replace(recipe.train, **run)
    except ValueError as error:
        raise UsageError(str(error)) from error
    recipe = replace(recipe, train=train, jitter=jitter)
    for name in ("synthetic", "mask_area_power"):
        value = getattr(options, name)
        if value is not None:
            recipe = replace(recipe, **{name: value})
    if options.scenes is not None:
        recipe = replace(recipe, scenes=SCENES[options.scenes])
    return recipe


def start_of(options: TrainOptions) -> Path | None:
    """The weights that training starts from; None for random ones."""
    if options.init is None and RECIPES[options.recipe]().needs_start:
        return bundled_model()
    return options.init


def retrain(
    options: TrainOptions,
    *,
    report: Callable[[StepReport], None] = lambda _: None,
    on_step: Callable[[int], None] = lambda _: None,
) -> ModelCard:
    """Train, alone or as one of the processes that `torchrun` started; report on the main one.

    on_step: called after each step with the steps done, on the main process.
    """
    recipe = build_recipe(options)
    if not options.data and recipe.synthetic < 1:
        raise UsageError("no --data; give a dataset, or --synthetic 1 to train on scenes alone")
    with training_place(options.device) as (world, device):
        if recipe.train.precision == "bf16":
            choose_precision("bf16", device)
        request = TrainRequest(
            data=options.data,
            out=options.out,
            recipe=recipe,
            weights=options.weights,
            init=start_of(options),
            name=options.name,
            data_workers=options.data_workers,
            device=device,
            world=world,
            tensorboard=options.tensorboard,
        )
        return train_sam(
            request,
            report=report if world.is_main else lambda _: None,
            on_step=on_step if world.is_main else lambda _: None,
        )
