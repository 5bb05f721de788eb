"""`sa-engine model`: look at weights, list those in the package, convert, average, compare.

What a command does lies in a module of its own, which is imported when it is called: --help is not
to wait for torch.
"""

from pathlib import Path

import click

from sa_engine.cli.model.compare import command as compare
from sa_engine.cli.shared.command import SETTINGS, CommandGroup
from sa_engine.cli.shared.places import OutFile, refuse_existing
from sa_engine.model.bundled import DEFAULT_MODEL


@click.group(cls=CommandGroup, context_settings=SETTINGS)
def command() -> None:
    """Show, list, convert, average and compare model files."""


@command.command(resumes=False, epilog=f"An example:  sa-engine model show {DEFAULT_MODEL}")
@click.argument("model")
def show(model: str) -> None:
    """Show the card of MODEL: a file, a detector's too, or the name of a model that comes with the
    engine.
    """
    from sa_engine.cli.model.files import show_card

    show_card(model)


@command.command("list", resumes=False, epilog="Example:  sa-engine model list")
def list_() -> None:
    """List the models that come with the engine."""
    from sa_engine.cli.model.files import print_models

    print_models()


@command.command(
    resumes=False, epilog="An example:  sa-engine model convert sam_vit_b.pth vit_b.safetensors"
)
@click.argument("source")
@click.argument("target", type=OutFile(".safetensors", ".pth", ".pt"))
@click.option("--name", help="The model's name on its card.  [default: the target's]")
@click.option("--force", is_flag=True, help="Replace TARGET if it is there.")
def convert(source: str, target: Path, name: str | None, force: bool) -> None:
    """Convert SOURCE to TARGET: .safetensors is the engine's format, .pth or .pt the public one.

    SOURCE is a file, or the name of a model that comes with the engine. The engine's file holds
    float16 weights and a card; a public file float32 weights alone.
    """
    from sa_engine.cli.model.files import convert_model

    refuse_existing(target, force=force)
    convert_model(source, target, name)


@command.command(
    "average",
    resumes=False,
    epilog="Example:  sa-engine model average run-1.safetensors run-2.safetensors "
    "--out mean.safetensors",
)
@click.argument("models", nargs=-1, required=True)
@click.option("--out", required=True, type=OutFile(".safetensors"), help="The file to write.")
@click.option("--image-size", type=click.IntRange(min=16), help="Take all models at this size.")
@click.option("--name", help="The model's name on its card.  [default: the file's]")
@click.option("--force", is_flag=True, help="Replace the file if it is there.")
def average_(
    models: tuple[str, ...], out: Path, image_size: int | None, name: str | None, force: bool
) -> None:
    """Write the mean of the weights of MODELS, which were trained on from the same weights.

    Runs that went their own ways, with other seeds or on other machines, give a mean that is often
    better than each of them. The card has the options of all; what was measured on them is not its.
    """
    from sa_engine.cli.model.files import average_models

    refuse_existing(out, force=force)
    average_models(models, out, image_size, name)


command.add_command(compare)
