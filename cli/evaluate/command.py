"""`sa-engine evaluate`: measure a model on datasets."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from sa_engine.automask.config import GeneratorConfig
from sa_engine.automask.generator import MaskGenerator
from sa_engine.cli.evaluate.boxes import boxes
from sa_engine.cli.evaluate.shared import (
    bar,
    change_card,
    load_model,
    open_sets,
    precision_name,
    set_options,
    write,
)
from sa_engine.cli.evaluate.thresholds import thresholds
from sa_engine.cli.shared.places import LOCAL_PATH
from sa_engine.errors import UsageError
from sa_engine.evaluation.baselines import GrabCut, RegionGrowing
from sa_engine.evaluation.calibration import calibrate, calibration_table
from sa_engine.evaluation.clicks import FirstPoint
from sa_engine.evaluation.model_segmenter import ModelSegmenter
from sa_engine.evaluation.points import PointsConfig, Score, chosen_images, evaluate_points
from sa_engine.evaluation.proposals import (
    FoundObjects,
    average_recall,
    evaluate_proposals,
    proposal_config,
)
from sa_engine.evaluation.results import read_rows
from sa_engine.evaluation.segmenters import Segmenter
from sa_engine.evaluation.summary import layout, summarise, table
from sa_engine.model.checkpoint import read_card
from sa_engine.model.device import choose_device, choose_precision
from sa_engine.model.predictor import Predictor

METHODS = ("model", "region-growing", "grabcut")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def command() -> None:
    """Measure models on datasets."""


@command.command(
    epilog="An example:  sa-engine evaluate points out/lvis --points 1,3 --max-images 20"
)
@set_options
@click.option(
    "--points", default="1,2,3,5,9", show_default=True, help="Numbers of clicks to score after."
)
@click.option(
    "--first-point",
    type=click.Choice([f.value for f in FirstPoint]),
    default=FirstPoint.CENTRE.value,
    show_default=True,
    help="The first click: the mask's innermost pixel, or a random one.",
)
@click.option("--boxes", is_flag=True, help="Score the masks' boxes as prompts, too.")
@click.option(
    "--method",
    "methods",
    multiple=True,
    type=click.Choice(METHODS),
    help="Who plays: the model, and baselines that learned nothing, under the same protocol; may "
    "be given several times.  [default: all]",
)
@click.option("--max-masks", type=click.IntRange(min=1), help="Masks of an image, drawn at random.")
@click.option("--seed", default=0, show_default=True, help="Of every random choice.")
def points(
    datasets: tuple[Path | str, ...],
    points: str,
    first_point: str,
    boxes: bool,
    methods: tuple[str, ...],
    max_images: int | None,
    max_masks: int | None,
    seed: int,
    out: Path | None,
    markdown: bool,
    **options: Any,
) -> None:
    """Click on every mask as an annotator would and score what comes back.

    Mean IoU of the model's own choice and of the best of its masks (oracle), by set and over sets,
    with 95 % bootstrap intervals, and how well predicted IoU tells the true one.
    """
    config = PointsConfig(
        counts=_counts(points),
        first_point=FirstPoint(first_point),
        boxes=boxes,
        max_images=max_images,
        max_masks=max_masks,
        seed=seed,
    )
    opened = open_sets(datasets)
    segmenters: list[Segmenter] = []
    for method in methods or METHODS:
        if method == "model":
            sam, name = load_model(options)
            device = choose_device(options["device"])
            predictor = Predictor(sam, device, choose_precision(options["precision"], device))
            segmenters.append(ModelSegmenter(predictor, name=name))
        else:
            segmenters.append(RegionGrowing() if method == "region-growing" else GrabCut())
    scores: list[Score] = []
    for set_name, dataset in opened.items():
        total = len(chosen_images(dataset, set_name, max_images))
        made = evaluate_points(dataset, set_name, segmenters=segmenters, config=config)
        for part in bar(made, total, set_name):
            scores.extend(part)
    _print_scores(scores, markdown=markdown)
    write(out, scores)


@command.command("table", epilog="An example:  sa-engine evaluate table rows.parquet other.parquet")
@click.argument("files", nargs=-1, required=True, type=LOCAL_PATH)
@click.option("--markdown", is_flag=True, help="Print Markdown tables.")
@click.option(
    "--record",
    type=LOCAL_PATH,
    help="A weights file: write the figures of its model, named as the file, into its card.",
)
def table_(files: tuple[Path, ...], markdown: bool, record: Path | None) -> None:
    """Print the tables of FILES that `evaluate points --out` wrote, put together."""
    scores: list[Score] = []
    for file in files:
        if not file.is_file():
            raise UsageError(f"there is no file {file}; give what `evaluate points --out` wrote")
        scores.extend(read_rows(file, Score))
    _print_scores(scores, markdown=markdown)
    if record is not None:
        figures: dict[str, dict[str, Any]] = {}
        for row in summarise([s for s in scores if s.method == record.stem]):
            of_set = figures.setdefault(row.dataset, {})
            measured = {"own": row.own.mean, "oracle": row.oracle.mean}
            of_set[row.prompt] = {k: round(v, 4) for k, v in measured.items()}
        if not figures:
            raise UsageError(f"no row is of a model named {record.stem}, as {record.name} is")
        change_card(record, results={**read_card(record).results, "mean_iou": figures})


def _print_scores(scores: Sequence[Score], *, markdown: bool) -> None:
    click.echo(table(summarise(scores), markdown=markdown))
    first = min((s.points for s in scores if s.points), default=0)
    learned = dict.fromkeys(s.method for s in scores if s.predicted_iou != 1.0)
    for name in learned:
        single = [s for s in scores if s.method == name and s.points == first]
        calibration = calibrate(single)
        click.echo(
            f"\nPredicted IoU of {name} after {single[0].prompt}: "
            f"Pearson {calibration.pearson:.3f}, Spearman {calibration.spearman:.3f}, "
            f"mean error of the bins {calibration.error:.3f}\n"
        )
        click.echo(calibration_table(calibration, markdown=markdown))


@command.command(epilog="An example:  sa-engine evaluate proposals out/lvis --max-images 20")
@set_options
@click.option(
    "--points-per-side", default=32, show_default=True, help="The paper's evaluation has 64."
)
def proposals(
    datasets: tuple[Path | str, ...],
    points_per_side: int,
    max_images: int | None,
    out: Path | None,
    markdown: bool,
    **options: Any,
) -> None:
    """Make all masks of every image and count how many of the known ones are among them.

    Average recall over IoU 0.5 to 0.95 with the first 100 and 1000 masks of an image, as the paper
    ranks them; by size as COCO does.
    """
    opened = open_sets(datasets)
    sam, _ = load_model(options)
    device = choose_device(options["device"])
    generator = MaskGenerator(
        sam,
        proposal_config(GeneratorConfig(points_per_side=points_per_side)),
        device=str(device),
        precision=precision_name(options["precision"], str(device)),
    )
    lines: list[list[str]] = []
    found: list[FoundObjects] = []
    for set_name, dataset in opened.items():
        total = len(chosen_images(dataset, set_name, max_images))
        of_set: list[FoundObjects] = []
        made = evaluate_proposals(
            dataset, set_name, generate=generator.generate, max_images=max_images
        )
        for part in bar(made, total, set_name):
            of_set.extend(part)
        for size, recall in average_recall(of_set).items():
            numbers = [f"{recall.objects:,}", f"{recall.at_100:.3f}", f"{recall.at_1000:.3f}"]
            lines.append([set_name, size, *numbers])
        found.extend(of_set)
    click.echo(layout(["set", "size", "objects", "AR@100", "AR@1000"], lines, markdown=markdown))
    write(out, found)


def _counts(text: str) -> tuple[int, ...]:
    try:
        counts = tuple(int(part) for part in text.split(","))
        dataclasses.replace(PointsConfig(), counts=counts)
    except ValueError as error:
        raise UsageError(f"--points {text!r}: give rising numbers from 1, as 1,2,3,5,9") from error
    return counts


command.add_command(boxes)
command.add_command(thresholds)
