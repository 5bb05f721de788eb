"""`sa-engine model`: look at weights, list those in the package, convert and compare them."""

import json
from pathlib import Path
from typing import Any

import click

from sa_engine.cli.model_compare import command as compare
from sa_engine.cli.places import LOCAL_PATH, WEIGHTS
from sa_engine.errors import UsageError
from sa_engine.evaluation.summary import layout
from sa_engine.model.card import ModelCard
from sa_engine.model.checkpoint import (
    export_public,
    load_checkpoint,
    read_card,
    save_checkpoint,
)
from sa_engine.model.weights import bundled_model, list_models

PUBLIC_SUFFIXES = (".pth", ".pt")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def command() -> None:
    """Show, list, convert and compare model files."""


@command.command(epilog="An example:  sa-engine model show vit_t")
@click.argument("model")
@click.option("--json", "as_json", is_flag=True, help="Print the whole card as JSON.")
def show(model: str, as_json: bool) -> None:
    """Show the card of MODEL: a file, or the name of a model that comes with the engine."""
    card = read_card(_path(model))
    click.echo(card.to_json() if as_json else _text(card))


@command.command("list", epilog="Example:  sa-engine model list")
def list_() -> None:
    """List the models that come with the engine."""
    models = list_models()
    if not models:
        click.echo("No model comes with this installation; give weights with --checkpoint.")
        return
    lines = [
        [m.name, m.card.variant, f"{m.card.image_size}", f"{m.path.stat().st_size / 1e6:.1f}"]
        for m in models
    ]
    click.echo(layout(["name", "variant", "image size", "MB"], lines))


@command.command(epilog="An example:  sa-engine model convert sam_vit_b.pth vit_b.safetensors")
@click.argument("source", type=WEIGHTS)
@click.argument("target", type=LOCAL_PATH)
@click.option("--name", help="The model's name on its card.  [default: the target's]")
@click.option(
    "--force", is_flag=True, help="Replace TARGET if it is there; otherwise that is an error."
)
def convert(source: Path, target: Path, name: str | None, force: bool) -> None:
    """Convert SOURCE to TARGET: .safetensors is the engine's format, .pth or .pt the public one.

    The engine's file holds float16 weights and a card; a public file float32 weights alone.
    """
    if target.exists() and not force:
        raise UsageError(f"{target} exists; give --force to replace it, or another name")
    if not target.resolve().parent.is_dir():
        raise UsageError(f"there is no folder {target.resolve().parent} to write to")
    sam = load_checkpoint(source)
    card = read_card(source)
    if target.suffix == ".safetensors":
        values: dict[str, Any] = json.loads(card.to_json())
        values["name"] = name or (target.stem if card.engine_version == "" else card.name)
        save_checkpoint(sam, target, ModelCard.from_json(json.dumps(values)))
    elif target.suffix in PUBLIC_SUFFIXES:
        export_public(sam, target)
    else:
        raise UsageError(
            f"{target.name} ends in {target.suffix or 'nothing'}; "
            "give .safetensors, or .pth or .pt for the public layout"
        )
    click.echo(
        f"{target}: {sam.variant} at {sam.image_size} px, {target.stat().st_size / 1e6:.1f} MB"
    )


command.add_command(compare)


def _path(model: str) -> Path:
    """A file, or the file of a bundled model's name."""
    path = Path(model)
    return path if path.exists() or path.suffix else bundled_model(model)


def _text(card: ModelCard) -> str:
    rows = [
        ("name", card.name),
        ("variant", card.variant),
        ("image size", f"{card.image_size} px"),
        ("least predicted IoU", f"{card.pred_iou_thresh:g}  (recommended for automatic masks)"),
        ("least stability", f"{card.stability_score_thresh:g}  (recommended for automatic masks)"),
        ("written by", f"sa-engine {card.engine_version}" if card.engine_version else "unknown"),
    ]
    width = max(len(label) for label, _ in rows)
    lines = [f"{label:<{width}}  {value}" for label, value in rows]
    for title, values in (("trained on", card.data), ("results", _pairs(card.results))):
        if values:
            lines += ["", title, *(f"  {line}" for line in values)]
    return "\n".join(lines)


def _pairs(results: Any) -> list[str]:
    return [
        f"{key}: {value:.3f}" if isinstance(value, float) else f"{key}: {value}"
        for key, value in sorted(results.items())
    ]
