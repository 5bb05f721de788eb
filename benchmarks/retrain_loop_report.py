"""The loop's benchmark as a page and a curve: what `retrain_loop.results` found, for people."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sa_engine.report.charts.rounds import Dot, dots_svg

ACCEPT_IOU = 0.8
"""From this IoU with a human mask on, the simulated annotator takes a proposal over."""

QUALITY = (0.5, 0.75, 0.9)
"""IoU with a human mask at which automatic masks are counted."""

ROUNDS = {
    "stage1": ("start", "human masks of part 1"),
    "stage2": ("promoted", "+ part 2, proposed and corrected"),
    "stage3": ("promoted", "+ automatic, human ×10"),
    "stage3-even": ("stage2", "+ automatic, all alike"),
    "automatic-alone": ("start", "automatic masks alone"),
    "stage1-longer": ("stage1", "part 1 again, as long as stage 2"),
    "stage2-longer": ("stage2", "parts 1 and 2 again, as long as stage 3"),
    "stage1-longest": ("stage1-longer", "part 1 again, as long as stage 3"),
}
"""The loop's rounds: the weights that each starts from, and what it is trained on."""


def markdown(found: Mapping[str, Any]) -> str:
    """The results as a page."""
    options, card = found["options"], found["start_card"]
    trained_on = "; ".join(each.partition(", sha256")[0] for each in card["data"])
    lines = [
        "# The loop on a domain that its model has never seen",
        "",
        f"`python -m benchmarks.retrain_loop`, {found['date']}, {found['cpu_minutes']} CPU minutes "
        f"of {options['minutes']:g} on {found['machine']['cores']} cores "
        f"({found['machine']['processor']}), torch {found['machine']['torch']}. Each training: "
        f"{options['steps']} steps of {options['batch']} pictures at {card['image_size']} px. What "
        "more masks bring is the difference to the model that had as many steps without them.",
        "",
        f"The domain: {', '.join(options['sets'])}. The start: {card['variant']} at "
        f"{card['image_size']} px, trained on {trained_on or 'what its card says'}.",
        "",
    ]
    if found["start_saw_photographs"]:
        lines += [
            "**The start had been trained on these photographs and their masks**, held-back ones "
            "included: what stage 2 teaches it is not new, and its proposals are better than those "
            "of an honest start.",
            "",
        ]
    lines += [
        "One click on each object of dev/ "
        f"({options['dev_images']} images a set, up to {options['dev_masks']} masks each), mean "
        "over sets:",
        "",
        "| model | from | trained on | mean IoU | 95 % | best of 3 | promoted |",
        "| --- | --- | --- | ---: | ---: | ---: | --- |",
    ]
    if found["start"]:
        lines.append(_iou_line("start", ("", ""), found["start"], None))
    lines += [
        _iou_line(each["name"], ROUNDS[each["name"]], each["measured"], each["promoted"])
        for each in found["rounds"]
        if each["measured"]
    ]
    if found["stopped"]:
        lines += ["", f"**It ended early:** {found['stopped']}"]
    lines += ["", "| gathered | images | masks | masks an image |", "| --- | ---: | ---: | ---: |"]
    for each in found["rounds"]:
        for gathered in each["sets"]:
            lines.append(
                f"| {gathered['name']} | {gathered['images']} | {gathered['masks']} "
                f"| {gathered['masks_per_image']} |"
            )
    lines += ["", *_proposal_lines(found), *_quality_lines(found)]
    return "\n".join(lines) + "\n"


def _proposal_lines(found: Mapping[str, Any]) -> list[str]:
    said = next(
        (s["proposals"] for each in found["rounds"] for s in each["sets"] if s["proposals"]), None
    )
    if said is None:
        return []
    recalls = [f"{r['detector_ar_100']:.3f}" for r in found["rounds"] if r["detector_ar_100"]]
    if not said["shown"]:
        return [
            "Stage 2: of no box of the detector the model made a mask that it was sure of, so that "
            f"all {said['added']} masks had to be drawn. Detector's AR@100 on dev/: "
            f"{' → '.join(recalls)}.",
            "",
        ]
    mean = (found["accepted_proposals"] or {}).get("mean_iou")
    return [
        f"Stage 2: {said['shown']} proposals shown, {said['kept']} taken over as they are "
        f"(precision {said['precision_unchanged']:.1%} at IoU {ACCEPT_IOU}): "
        f"{said['share_untouched']:.1%} of the masks did not have to be drawn, which is the "
        f"proposals' recall. {said['edited']} more are near a human mask (mean IoU "
        f"{said['edited_mean_iou']}). Mean IoU of those taken over: "
        f"{mean if mean is not None else '–'}. Detector's AR@100 on dev/: {' → '.join(recalls)}.",
        "",
    ]


def _quality_lines(found: Mapping[str, Any]) -> list[str]:
    quality = found["automatic_masks_on_dev"]
    if not quality:
        return []
    lines = [
        "Automatic masks by the model that made those of stage 3, on dev/: best IoU with a human "
        "mask (sets that outline only some things count right masks as wrong):",
        "",
        "| set | masks an image | mean IoU | > 0.5 | > 0.75 | > 0.9 |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, each in quality.items():
        cells = [each.get(f"share_over_{t}") for t in QUALITY]
        shares = " | ".join(_share(cell) for cell in cells)
        lines.append(f"| {name} | {each['masks_per_image']} | {each['mean_iou']} | {shares} |")
    return lines


def _iou_line(
    name: str, made: tuple[str, str], measured: Mapping[str, Any], promoted: bool | None
) -> str:
    verdict = {None: "", True: "yes", False: "no"}[promoted]
    return (
        f"| {name} | {' | '.join(made)} | {measured['own']:.4f} "
        f"| {measured['own_low']:.3f}–{measured['own_high']:.3f} | {measured['oracle']:.4f} "
        f"| {verdict} |"
    )


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.0%}"


def curve(found: Mapping[str, Any]) -> str:
    """Mean IoU by round."""
    dots = []
    if found["start"]:
        dots.append(_dot("start", found["start"], filled=True))
    dots += [
        _dot(each["name"], each["measured"], filled=bool(each["promoted"]))
        for each in found["rounds"]
        if each["measured"]
    ]
    return dots_svg("Mean IoU of one click on dev/ (hollow: not promoted)", dots)


def _dot(name: str, measured: Mapping[str, Any], *, filled: bool) -> Dot:
    return Dot(name, measured["own"], measured["own_low"], measured["own_high"], filled=filled)


def write_results(found: Mapping[str, Any], folder: Path) -> None:
    """The three files."""
    folder.mkdir(parents=True, exist_ok=True)
    writers: dict[str, Callable[[], str]] = {
        "json": lambda: json.dumps(found, indent=1) + "\n",
        "md": lambda: markdown(found),
        "svg": lambda: curve(found) + "\n",
    }
    for ending, write in writers.items():
        (folder / f"retrain_loop.{ending}").write_text(write(), encoding="utf-8")
