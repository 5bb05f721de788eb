"""`sa-engine train align`: a new image encoder that gives another model's embedding."""

from pathlib import Path
from typing import Any

import click

from sa_engine.cli.shared.console import console
from sa_engine.cli.shared.options import GroupedCommand, all_of, option_names, options_from, take
from sa_engine.cli.shared.places import DEVICE, WEIGHTS, OutFile
from sa_engine.cli.shared.progress import StepBar
from sa_engine.errors import UsageError
from sa_engine.model.sizes import LITE_SIZES
from sa_engine.training.sam.config import PRECISIONS, AlignConfig


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
@click.option("--out", required=True, type=OutFile(), help="The weights file to write.")
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
    type=click.Choice(PRECISIONS),
    default="fp32",
    show_default=True,
    help="Arithmetic; bf16 where the hardware has it.",
)
@click.option(
    "--device",
    type=DEVICE,
    default="auto",
    show_default=True,
    help="Where it is fitted: auto (a GPU where there is one), cpu, cuda, cuda:N or mps.",
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

    It needs images and no masks, and minutes. `sa-engine train sam --init` goes on from there:
    a decoder that meets an encoder it does not know would forget what masks are.
    """
    from sa_engine.model.device import choose_device, choose_precision
    from sa_engine.model.weights import bundled_model
    from sa_engine.training.sam.align import AlignReport, AlignRequest
    from sa_engine.training.sam.align import align as fit

    given = take(options, option_names(AlignConfig)) | options
    try:
        config = AlignConfig(**{k: v for k, v in given.items() if v is not None})
    except ValueError as error:
        raise UsageError(str(error)) from error
    place = choose_device(device)
    if config.precision == "bf16":
        choose_precision("bf16", place)
    request = AlignRequest(
        images=images,
        teacher=teacher or bundled_model(),
        out=out,
        config=config,
        name=name,
        device=place,
    )
    bar = StepBar[AlignReport]("align", config.steps, lambda r: f"error {r.error:.3f}")
    card = fit(request, report=bar.report)
    console().say(
        f"{out}: {card.variant} at {card.image_size} px, "
        f"{card.results['embedding_error']:.3f} of the embedding's variance left"
    )
    console().result({"out": out, "card": card})
