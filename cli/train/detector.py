"""`sa-engine train detector`: train the box detector of stage 2."""

from pathlib import Path
from typing import Any

import click

from sa_engine.cli.shared.console import console
from sa_engine.cli.shared.options import (
    GroupedCommand,
    all_of,
    option,
    option_names,
    options_from,
    take,
)
from sa_engine.cli.shared.places import DEVICE, WEIGHTS, OutFile
from sa_engine.cli.shared.progress import StepBar
from sa_engine.cli.shared.weights import data_options, parse_weights
from sa_engine.cli.train.ranks import speaks
from sa_engine.detection.config import DetectorConfig
from sa_engine.model.bundled import DEFAULT_MODEL
from sa_engine.training.detector.config import (
    DetectorJitterConfig,
    DetectorLossConfig,
    DetectorOptimConfig,
    DetectorTrainConfig,
)
from sa_engine.training.detector.report import DetectorReport

_PARTS = {
    "train": (DetectorTrainConfig, "Run"),
    "net": (DetectorConfig, "Network"),
    "losses": (DetectorLossConfig, "Losses"),
    "optim": (DetectorOptimConfig, "Optimizer"),
    "jitter": (DetectorJitterConfig, "Pictures"),
}


@click.command(
    cls=GroupedCommand,
    epilog="An example:  sa-engine train detector --data out/manual --steps 2000 "
    "--out out/detector.safetensors",
)
@data_options
@click.option("--out", required=True, type=OutFile(), help="The detector's file to write.")
@click.option(
    "--init",
    type=WEIGHTS,
    help="A detector to start from instead of random weights, such as that of the model before.",
)
@click.option("--name", default="", help="The detector's name on its card.  [default: the file's]")
@option(
    "--model",
    group="Model",
    metavar="NAME",
    help="The model whose frozen image encoder the detector stands on (`sa-engine model list`).  "
    f"[default: {DEFAULT_MODEL}]",
)
@option(
    "--checkpoint",
    group="Model",
    type=WEIGHTS,
    help="A weights file instead: the engine's safetensors or a public SAM .pth.",
)
@option(
    "--device",
    group="Model",
    type=DEVICE,
    default="auto",
    show_default=True,
    help="Where the detector trains: auto (a GPU where there is one), cpu, cuda, cuda:N or mps.",
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
def detector(data: tuple[Path | str, ...], weight: tuple[str, ...], **options: Any) -> None:
    """Train the box detector of stage 2 and write it with its card.

    It finds objects of one category, "object", on a model's frozen image encoder, and works with
    models of that very encoder alone. The same command again continues a run that was stopped.
    """
    from sa_engine.pipelines.train_detector import DetectorOptions, build_config, retrain_detector

    changes = {
        part: {k: v for k, v in take(options, option_names(config)).items() if v is not None}
        for part, (config, _) in _PARTS.items()
    }
    request = DetectorOptions(data=data, weights=parse_weights(weight), changes=changes, **options)
    bar = StepBar[DetectorReport](
        "train detector",
        build_config(request).steps,
        lambda r: f"loss {r.loss:.3f}, box IoU {r.box_iou:.3f}",
        horizon=lambda r: r.horizon,
    )
    card = retrain_detector(request, report=bar.report, on_step=bar.step)
    if not speaks():
        return
    note = "" if bar.has_begun else "finished before and left as it is; "
    console().say(
        f"{request.out}: {note}a detector for {card.model} ({card.variant} at "
        f"{card.image_size} px, encoder {card.encoder_sha256[:12]}), "
        f"training box IoU {card.results.get('training_box_iou', 0):.3f}"
    )
    console().result({"out": request.out, "finished_before": not bar.has_begun, "card": card})
