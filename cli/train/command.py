"""`sa-engine train`: train the promptable model."""

from pathlib import Path
from typing import Any

import click

from sa_engine.cli.shared.command import SETTINGS, CommandGroup
from sa_engine.cli.shared.console import console
from sa_engine.cli.shared.options import (
    GroupedCommand,
    all_of,
    option_names,
    options_from,
    take,
)
from sa_engine.cli.shared.places import DEVICE, WEIGHTS, OutFile
from sa_engine.cli.shared.progress import StepBar
from sa_engine.cli.shared.weights import data_options, parse_weights
from sa_engine.cli.train.align import align
from sa_engine.cli.train.detector import detector
from sa_engine.cli.train.pack import pack
from sa_engine.cli.train.ranks import speaks
from sa_engine.model.sizes import VARIANTS
from sa_engine.training.data.photos import JitterConfig
from sa_engine.training.data.samples import PromptConfig
from sa_engine.training.data.scene_config import SCENES
from sa_engine.training.optim_config import OptimConfig
from sa_engine.training.sam.config import PRECISIONS, LossWeights, RoundsConfig, TrainConfig
from sa_engine.training.sam.recipes import RECIPES
from sa_engine.training.sam.report import StepReport

_PARTS = {
    "train": (TrainConfig, "Run"),
    "prompts": (PromptConfig, "Prompts"),
    "rounds": (RoundsConfig, "Rounds"),
    "losses": (LossWeights, "Losses"),
    "optim": (OptimConfig, "Optimizer"),
    "jitter": (JitterConfig, "Pictures"),
}


@click.group(cls=CommandGroup, context_settings=SETTINGS)
def command() -> None:
    """Train the engine's models on datasets."""


@command.command(
    cls=GroupedCommand,
    epilog="Several processes:  torchrun --nproc-per-node 2 -m sa_engine train sam ...",
)
@data_options
@click.option(
    "--out", required=True, type=OutFile(), help="The weights file to write, .safetensors."
)
@click.option(
    "--init",
    type=WEIGHTS,
    help="Weights to start from instead of random ones; encoder and input size are theirs, too, "
    "unless --image-size is given.  [default for --recipe finetune: the bundled model; a lite "
    "encoder's backbone starts from the ImageNet weights of the extra `train`]",
)
@click.option(
    "--arch",
    type=click.Choice(VARIANTS),
    help="The image encoder.  [default: that of --init, else the recipe's]",
)
@click.option(
    "--recipe",
    type=click.Choice(list(RECIPES)),
    default="finetune",
    show_default=True,
    help="Where all other values come from. finetune: training on from a model with few masks of "
    "one domain; scratch: from random weights; paper: the published training; "
    "the others see README.",
)
@click.option("--name", default="", help="The model's name on its card.  [default: the file's]")
@click.option(
    "--synthetic", type=click.FloatRange(0, 1), help="Share of synthetic scenes, from 0 to 1."
)
@click.option(
    "--scenes", type=click.Choice(list(SCENES)), help="Which synthetic scenes.  [default: full]"
)
@click.option(
    "--mask-area-power",
    type=float,
    help="Choose masks of an image with a weight of their area to this power.",
)
@click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    help="Arithmetic; bf16 where the hardware has it.  [default: fp32]",
)
@click.option(
    "--freeze-encoder",
    is_flag=True,
    help="Train the prompt encoder and the mask decoder alone: less work a step, and the start's "
    "box detector fits the new model, too.",
)
@click.option("--compile", "compile_model", is_flag=True, help="Use torch.compile.")
@click.option(
    "--norms-per-process",
    is_flag=True,
    help="Batch statistics from each process's own images: faster on CPUs, but no longer the "
    "same result for another number of processes.",
)
@click.option(
    "--device",
    type=DEVICE,
    default="auto",
    show_default=True,
    help="Where the model trains: auto (a GPU where there is one), cpu, cuda, cuda:N or mps.",
)
@click.option(
    "--data-workers",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Processes that prepare images beside the training.",
)
@click.option("--tensorboard", is_flag=True, help="Write TensorBoard event files, too.")
@all_of(*(options_from(config, group) for config, group in _PARTS.values()))
def sam(
    data: tuple[Path | str, ...],
    weight: tuple[str, ...],
    arch: str | None,
    precision: str | None,
    freeze_encoder: bool,
    compile_model: bool,
    norms_per_process: bool,
    **options: Any,
) -> None:
    """Train the promptable model on datasets and write its weights with their card.

    The same command again continues a run that was stopped.

    \b
    sa-engine train sam --data out/manual --out out/model.safetensors
    """
    from sa_engine.pipelines.train import TrainOptions, build_recipe, retrain

    changes = {
        part: {k: v for k, v in take(options, option_names(config)).items() if v is not None}
        for part, (config, _) in _PARTS.items()
    }
    if arch is not None:
        changes["train"]["variant"] = arch
    if precision is not None:
        changes["train"]["precision"] = precision
    if freeze_encoder:
        changes["train"]["freeze_encoder"] = True
    if compile_model:
        changes["train"]["compile_model"] = True
    if norms_per_process:
        changes["train"]["sync_norms"] = False
    request = TrainOptions(data=data, weights=parse_weights(weight), changes=changes, **options)
    bar = StepBar[StepReport](
        "train",
        build_recipe(request).train.steps,
        lambda r: f"loss {r.loss:.3f}, IoU {r.first_own_iou:.3f} own {r.first_best_iou:.3f} best",
        horizon=lambda r: r.horizon,
    )
    card = retrain(request, report=bar.report, on_step=bar.step)
    if not speaks():
        return
    note = "" if bar.has_begun else "finished before and left as it is; "
    console().say(
        f"{request.out}: {note}{card.variant} at {card.image_size} px, "
        f"training IoU {card.results.get('training_first_own_iou', 0):.3f} own, "
        f"{card.results.get('training_first_best_iou', 0):.3f} best of 3"
    )
    console().result({"out": request.out, "finished_before": not bar.has_begun, "card": card})


command.add_command(align)
command.add_command(detector)
command.add_command(pack)
