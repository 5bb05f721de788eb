"""What `sa-engine model show`, `list`, `convert` and `average` do."""

import dataclasses
from pathlib import Path
from typing import Any

from sa_engine.cli.shared.console import console
from sa_engine.detection.card import DetectorCard
from sa_engine.detection.file import check_weights, is_detector, read_detector_card
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
from sa_engine.model.weights import find_model, list_models

RECOMMENDED = "(recommended for automatic masks)"


def show_card(model: str) -> None:
    """See `model show`."""
    path = find_model(model)
    card: ModelCard | DetectorCard
    if is_detector(path):
        check_weights(path)
        card = read_detector_card(path)
    else:
        load_checkpoint(path)  # a card is only shown of what can be used
        card = read_card(path)
    console().say(_text(card))
    console().result(card)


def print_models() -> None:
    """See `model list`."""
    models = list_models()
    console().result({"models": models})
    if not models:
        console().say("No model comes with this installation; give weights with --checkpoint.")
        return
    lines = [
        [m.name, m.card.variant, f"{m.card.image_size}", f"{m.path.stat().st_size / 1e6:.1f}"]
        for m in models
    ]
    console().say(layout(["name", "variant", "image size", "MB"], lines))


def convert_model(source: str, target: Path, name: str | None) -> None:
    """See `model convert`."""
    path = find_model(source)
    sam, card = load_checkpoint(path), read_card(path)
    if target.suffix == ".safetensors":
        given = name or (target.stem if card.engine_version == "" else card.name)
        save_checkpoint(sam, target, dataclasses.replace(card, name=given))
    else:
        export_public(sam, target)
    _say_written(sam, target)


def average_models(
    models: tuple[str, ...], out: Path, image_size: int | None, name: str | None
) -> None:
    """See `model average`."""
    paths = [find_model(model) for model in models]
    sam = average([load_checkpoint(path, image_size=image_size) for path in paths])
    cards = [read_card(path) for path in paths]
    card = ModelCard(
        name=name or out.stem,
        variant=sam.variant,
        image_size=sam.image_size,
        data=tuple(dict.fromkeys(line for each in cards for line in each.data)),
        options={"average_of": [{"name": each.name, **each.options} for each in cards]},
        pred_iou_thresh=cards[0].pred_iou_thresh,
        stability_score_thresh=cards[0].stability_score_thresh,
        mask_nms_thresh=cards[0].mask_nms_thresh,
    )
    save_checkpoint(sam, out, card)
    _say_written(sam, out)


def _say_written(sam: Sam, path: Path) -> None:
    size = path.stat().st_size
    console().say(f"{path}: {sam.variant} at {sam.image_size} px, {size / 1e6:.1f} MB")
    console().result(
        {"out": path, "variant": sam.variant, "image_size": sam.image_size, "bytes": size}
    )


def _mask_nms(card: ModelCard) -> list[tuple[str, str]]:
    limit = card.mask_nms_thresh
    return [] if limit is None else [("largest IoU of two", f"{limit:g}  {RECOMMENDED}")]


def _text(card: ModelCard | DetectorCard) -> str:
    rows = [("name", card.name), ("variant", card.variant), ("image size", f"{card.image_size} px")]
    if isinstance(card, ModelCard):
        rows += [
            ("least predicted IoU", f"{card.pred_iou_thresh:g}  {RECOMMENDED}"),
            ("least stability", f"{card.stability_score_thresh:g}  {RECOMMENDED}"),
            *_mask_nms(card),
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
