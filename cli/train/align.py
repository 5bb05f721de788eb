"""`sa-engine train align`: a new image encoder that gives another model's embedding."""

from pathlib import Path
from typing import Any

import click

from sa_engine.cli.shared.options import GroupedCommand, all_of, option_names, options_from, take
from sa_engine.cli.shared.places import LOCAL_PATH, WEIGHTS
from sa_engine.cli.shared.progress import StepBar
from sa_engine.errors import UsageError
from sa_engine.model.device import choose_device
from sa_engine.model.encoders.efficientnet_lite import LITE_SIZES
from sa_engine.model.weights import bundled_model
from sa_engine.training.sam.align import AlignConfig, AlignReport, AlignRequest
from sa_engine.training.sam.align import align as fit


@click.command(
    cls=GroupedCommand,
    epilog="An example:  sa-engine train align --images photos --arch lite0 "
    "--out out/start.safetensors",
)
@click.option(
    "--images",
    required=True,
    help="A folder (searched through), a file, a glob, a text list of paths, or a tar of images; "
    "or the URL of any of these. They need no masks.",
)
@click.option("--out", required=True, type=LOCAL_PATH, help="The weights file to write.")
@click.option(
    "--arch",
    "variant",
    type=click.Choice(list(LITE_SIZES)),
    default=AlignConfig().variant,
    show_default=True,
    help="The new image encoder; it starts from the ImageNet weights of a package.",
)
@click.option(
    "--teacher",
    type=WEIGHTS,
    help="The model whose embedding it learns and whose decoder it takes over.  "
    "[default: the bundled model]",
)
@click.option("--name", default="", help="The model's name on its card.  [default: the file's]")
@click.option(
    "--precision",
    type=click.Choice(["float32", "bfloat16"]),
    default=AlignConfig().precision,
    show_default=True,
    help="Arithmetic; bfloat16 where the hardware has it.",
)
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda", "mps"]),
    default="auto",
    show_default=True,
    help="Where it is fitted; auto takes a GPU when there is one.",
)
@all_of(options_from(AlignConfig, "Run"))
def align(
    images: str,
    out: Path,
    teacher: Path | None,
    name: str,
    device: str,
    **options: Any,
) -> None:
    """Fit a new image encoder to the embedding of a model that works.

    It needs photographs and no masks, and minutes. `sa-engine train sam --init` goes on from there:
    a decoder that meets an encoder it does not know would forget what masks are.
    """
    given = take(options, option_names(AlignConfig)) | options
    try:
        config = AlignConfig(**{k: v for k, v in given.items() if v is not None})
    except ValueError as error:
        raise UsageError(str(error)) from error
    request = AlignRequest(
        images=images,
        teacher=teacher or bundled_model(),
        out=out,
        config=config,
        name=name,
        device=choose_device(device),
    )
    bar = StepBar[AlignReport]("align", config.steps, lambda r: f"error {r.error:.3f}")
    card = fit(request, report=bar.report)
    click.echo(
        f"{out}: {card.variant} at {card.image_size} px, "
        f"{card.results['embedding_error']:.3f} of the embedding's variance left"
    )
