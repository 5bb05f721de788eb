"""`sa-engine evaluate thresholds`: what everything mode should keep with a model."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from sa_engine.automask.config import GeneratorConfig
from sa_engine.automask.generator import MaskGenerator
from sa_engine.cli.evaluate.shared import (
    bar,
    change_card,
    load_model,
    open_sets,
    precision_name,
    write,
)
from sa_engine.cli.shared.console import console
from sa_engine.errors import UsageError
from sa_engine.evaluation.points import chosen_images
from sa_engine.evaluation.proposals import proposal_config
from sa_engine.evaluation.summary import layout
from sa_engine.evaluation.thresholds import (
    JudgedImage,
    Operating,
    judge,
    play_through,
    recommend,
)
from sa_engine.model.checkpoint import read_card
from sa_engine.model.device import choose_device


def find_thresholds(
    datasets: tuple[Path | str, ...],
    points_per_side: int,
    match_iou: float,
    mask_nms_thresh: float | None,
    write_card: bool,
    max_images: int | None,
    out: Path | None,
    markdown: bool,
    **options: Any,
) -> None:
    """See `evaluate thresholds`."""
    checkpoint: Path | None = options["checkpoint"]
    if write_card and checkpoint is None:
        raise UsageError("--write needs --checkpoint: the file to write the thresholds to")
    if mask_nms_thresh is not None and not write_card:
        raise UsageError("--mask-nms-thresh is what to write: add --write")
    if write_card and options["image_size"] is not None:
        raise UsageError("--write is for the weights' own size; leave out --image-size")
    opened = open_sets(datasets)
    sam, _ = load_model(options)
    device = choose_device(options["device"])
    base = GeneratorConfig(points_per_side=points_per_side)
    generator = MaskGenerator(
        sam,
        replace(proposal_config(base), box_nms_thresh=1.0),
        device=str(device),
        precision=precision_name(options["precision"], str(device)),
    )
    judged: list[JudgedImage] = []
    for name, dataset in opened.items():
        total = len(chosen_images(dataset, name, max_images))
        made = judge(dataset, name, generate=generator.generate, max_images=max_images)
        judged.extend(bar(made, total, name))
    played = play_through(judged, match_iou=match_iou, nms_iou=base.box_nms_thresh)
    best = recommend(played)
    console().say(layout(_HEAD, [_line(o) for o in _outline(played, best)], markdown=markdown))
    console().say(
        f"\nrecommended: pred_iou_thresh {best.pred_iou_thresh}, "
        f"stability_score_thresh {best.stability_score_thresh}"
    )
    console().result(best)
    write(out, played)
    if write_card and checkpoint is not None:
        _write(Path(checkpoint), best, list(opened), len(judged), mask_nms_thresh)


_HEAD = ["pred IoU >", "stability >=", "masks/image", "precision", "recall", "F0.5"]


def _line(operating: Operating) -> list[str]:
    return [
        f"{operating.pred_iou_thresh:.2f}",
        f"{operating.stability_score_thresh:.2f}",
        f"{operating.masks_per_image:.1f}",
        f"{operating.precision:.3f}",
        f"{operating.recall:.3f}",
        f"{operating.f_half:.3f}",
    ]


def _outline(played: list[Operating], best: Operating) -> list[Operating]:
    """The best pair of every stability, and the neighbours in predicted IoU of the best of all."""
    rows = [
        recommend([o for o in played if o.stability_score_thresh == s])
        for s in dict.fromkeys(o.stability_score_thresh for o in played)
    ]
    same = [o for o in played if o.stability_score_thresh == best.stability_score_thresh]
    at = same.index(best)
    rows += [o for o in same[max(0, at - 10) : at + 11 : 5] if o not in rows]
    return sorted(rows, key=lambda o: (o.stability_score_thresh, o.pred_iou_thresh))


def _write(
    checkpoint: Path, best: Operating, sets: list[str], images: int, mask_nms: float | None
) -> None:
    card = read_card(checkpoint)
    change_card(
        checkpoint,
        pred_iou_thresh=best.pred_iou_thresh,
        stability_score_thresh=best.stability_score_thresh,
        mask_nms_thresh=card.mask_nms_thresh if mask_nms is None else mask_nms,
        results={**card.results, "thresholds": {**asdict(best), "sets": sets, "images": images}},
    )
