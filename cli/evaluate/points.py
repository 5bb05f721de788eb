"""`sa-engine evaluate points` and `table`."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sa_engine.cli.evaluate.groups import groups_of_masks, print_groups
from sa_engine.cli.evaluate.shared import (
    bar,
    change_card,
    load_model,
    open_sets,
    write,
)
from sa_engine.cli.shared.console import console
from sa_engine.errors import UsageError
from sa_engine.evaluation.baselines import GrabCut, RegionGrowing
from sa_engine.evaluation.calibration import calibrate, calibration_table
from sa_engine.evaluation.clicks import FirstPoint
from sa_engine.evaluation.groups import read_groups
from sa_engine.evaluation.model_segmenter import ModelSegmenter
from sa_engine.evaluation.points import PointsConfig, Score, chosen_images, evaluate_points
from sa_engine.evaluation.results import read_rows
from sa_engine.evaluation.segmenters import Segmenter
from sa_engine.evaluation.summary import summarise, table
from sa_engine.model.checkpoint import read_card
from sa_engine.model.device import choose_device, choose_precision
from sa_engine.model.predictor import Predictor

METHODS = ("model", "region-growing", "grabcut")


def measure_points(
    datasets: tuple[Path | str, ...],
    points: str,
    first_point: str,
    boxes: bool,
    methods: tuple[str, ...],
    max_images: int | None,
    max_masks: int | None,
    seed: int,
    groups_file: Path | None,
    out: Path | None,
    markdown: bool,
    **options: Any,
) -> None:
    """See `evaluate points`."""
    groups = None if groups_file is None else read_groups(groups_file)
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
    of_masks: dict[tuple[str, int], Mapping[str, str]] = {}
    for set_name, dataset in opened.items():
        if groups is not None:
            of_masks |= groups_of_masks(dataset, set_name, groups)
        total = len(chosen_images(dataset, set_name, max_images))
        made = evaluate_points(dataset, set_name, segmenters=segmenters, config=config)
        for part in bar(made, total, set_name):
            scores.extend(part)
    _print_scores(scores, markdown=markdown)
    if groups is not None:
        print_groups(scores, of_masks, groups, markdown=markdown)
    write(out, scores)


def print_tables(files: tuple[Path, ...], markdown: bool, record: Path | None) -> None:
    """See `evaluate table`."""
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
    rows = summarise(scores)
    console().say(table(rows, markdown=markdown))
    console().result({"rows": rows})
    first = min((s.points for s in scores if s.points), default=0)
    learned = dict.fromkeys(s.method for s in scores if s.predicted_iou != 1.0)
    for name in learned:
        single = [s for s in scores if s.method == name and s.points == first]
        calibration = calibrate(single)
        console().say(
            f"\nPredicted IoU of {name} after {single[0].prompt}: "
            f"Pearson {calibration.pearson:.3f}, Spearman {calibration.spearman:.3f}, "
            f"mean error of the bins {calibration.error:.3f}\n"
        )
        console().say(calibration_table(calibration, markdown=markdown))


def _counts(text: str) -> tuple[int, ...]:
    try:
        counts = tuple(int(part) for part in text.split(","))
        dataclasses.replace(PointsConfig(), counts=counts)
    except ValueError as error:
        raise UsageError(f"--points {text!r}: give rising numbers from 1, as 1,2,3,5,9") from error
    return counts
