"""`sa-engine model`: look at weights, list those in the package, convert, average, compare."""

import json
from pathlib import Path
from typing import Any

import click

from sa_engine.cli.model.compare import command as compare
from sa_engine.cli.shared.places import LOCAL_PATH, WEIGHTS
from sa_engine.detection.card import DetectorCard
from sa_engine.detection.file import check_weights, is_detector, read_detector_card
from sa_engine.errors import UsageError
from sa_engine.evaluation.summary import layout
from sa_engine.model.average import average
from sa_engine.model.card import ModelCard
from sa_engine.model.checkpoint import (
    export_public,
    load_checkpoint,
    read_card,
    save_checkpoint,
)
from sa_engine.model.sam import Sam
from sa_engine.model.weights import bundled_model, list_models

PUBLIC_SUFFIXES = (".pth", ".pt")
RECOMMENDED = "(recommended for automatic masks)"


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def command() -> None:
    """Show, list, convert, average and compare model files."""


@command.command(epilog="An example:  sa-engine model show vit_t")
@click.argument("model")
@click.option("--json", "as_json", is_flag=True, help="Print the whole card as JSON.")
def show(model: str, as_json: bool) -> None:
    """Show the card of MODEL: a file, a detector's too, or the name of a model that comes with the
    engine.
    """
    path = _path(model)
    card: ModelCard | DetectorCard
    if is_detector(path):
        check_weights(path)
        card = read_detector_card(path)
    else:
        load_checkpoint(path)  # a card is only shown of what can be used
        card = read_card(path)
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
    _check_target(target, force=force)
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
    click.echo(_written(sam, target))


@command.command(
    "average",
    epilog="Example:  sa-engine model average run-1.safetensors run-2.safetensors "
    "--out mean.safetensors",
)
@click.argument("models", nargs=-1, required=True, type=WEIGHTS)
@click.option("--out", required=True, type=LOCAL_PATH, help="The file to write, .safetensors.")
@click.option("--image-size", type=click.IntRange(min=16), help="Take all models at this size.")
@click.option("--name", help="The model's name on its card.  [default: the file's]")
@click.option("--force", is_flag=True, help="Replace the file if it is there.")
def average_(
    models: tuple[Path, ...], out: Path, image_size: int | None, name: str | None, force: bool
) -> None:
    """Write the mean of the weights of MODELS, which were trained on from the same weights.

    Runs that went their own ways, with other seeds or on other machines, give a mean that is often
    better than each of them. The card has the options of all; what was measured on them is not its.
    """
    _check_target(out, force=force)
    if out.suffix != ".safetensors":
        raise UsageError(f"{out.name} must end in .safetensors")
    sam = average([load_checkpoint(path, image_size=image_size) for path in models])
    cards = [read_card(path) for path in models]
    card = ModelCard(
        name=name or out.stem,
        variant=sam.variant,
        image_size=sam.image_size,
        data=tuple(dict.fromkeys(line for each in cards for line in each.data)),
        options={"average_of": [{"name": each.name, **each.options} for each in cards]},
        pred_iou_thresh=cards[0].pred_iou_thresh,
        stability_score_thresh=cards[0].stability_score_thresh,
    )
    save_checkpoint(sam, out, card)
    click.echo(_written(sam, out))


command.add_command(compare)


def _check_target(target: Path, *, force: bool) -> None:
    if target.exists() and not force:
        raise UsageError(f"{target} exists; give --force to replace it, or another name")
    if not target.resolve().parent.is_dir():
        raise UsageError(f"there is no folder {target.resolve().parent} to write to")


def _written(sam: Sam, path: Path) -> str:
    return f"{path}: {sam.variant} at {sam.image_size} px, {path.stat().st_size / 1e6:.1f} MB"


def _path(model: str) -> Path:
    """A file, or the file of a bundled model's name."""
    path = Path(model)
    return path if path.exists() or path.suffix else bundled_model(model)


def _text(card: ModelCard | DetectorCard) -> str:
    rows = [("name", card.name), ("variant", card.variant), ("image size", f"{card.image_size} px")]
    if isinstance(card, ModelCard):
        rows += [
            ("least predicted IoU", f"{card.pred_iou_thresh:g}  {RECOMMENDED}"),
            ("least stability", f"{card.stability_score_thresh:g}  {RECOMMENDED}"),
        ]
    else:
        rows += [
            ("box detector of", f"{card.model}, image encoder {card.encoder_sha256}"),
            ("least box score", f"{card.box_score_thresh:g}  (recommended for proposals)"),
        ]
    rows.append(
        ("written by", f"sa-engine {card.engine_version}" if card.engine_version else "unknown")
    )
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
