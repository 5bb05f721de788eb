"""`sa-engine evaluate boxes`: a detector's boxes against the known objects."""

import math
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from sa_engine.automask.config import GeneratorConfig
from sa_engine.automask.generator import MaskGenerator
from sa_engine.cli.evaluate.shared import (
    bar,
    load_model,
    open_sets,
    precision_name,
    set_options,
    write,
)
from sa_engine.cli.shared.places import WEIGHTS
from sa_engine.detection.boxes import BoxFilter
from sa_engine.detection.file import detector_standing_on, load_detector
from sa_engine.detection.finder import BoxFinder
from sa_engine.errors import UsageError
from sa_engine.evaluation.boxes import (
    FindBoxes,
    PictureBoxes,
    box_scores,
    evaluate_boxes,
    found_objects,
)
from sa_engine.evaluation.points import chosen_images
from sa_engine.evaluation.proposals import mask_rank, proposal_config
from sa_engine.evaluation.summary import layout
from sa_engine.masks import boxes as box_algebra
from sa_engine.model.device import DTYPES, choose_device
from sa_engine.model.sam import Sam


@click.command(
    epilog="An example:  sa-engine evaluate boxes out/lvis --detector out/detector.safetensors"
)
@set_options
@click.option(
    "--detector",
    type=WEIGHTS,
    help="A detector's file.  [default: the one that comes with the model, if there is one]",
)
@click.option(
    "--grid",
    type=click.IntRange(min=1),
    help="Measure beside it the boxes of the masks that a grid of so many points a side gives; "
    "the paper's has 32.",
)
@click.option(
    "--nms-thresh",
    type=click.FloatRange(0, 1),
    default=0.6,
    show_default=True,
    help="Of two boxes with an IoU above this the one with the lower score goes.",
)
def boxes(
    datasets: tuple[Path | str, ...],
    detector: Path | None,
    grid: int | None,
    nms_thresh: float,
    max_images: int | None,
    out: Path | None,
    markdown: bool,
    **options: Any,
) -> None:
    """Find boxes in every image and count how many of the known objects are among them.

    Average recall over IoU 0.5 to 0.95 with the first 10, 100 and 1000 boxes of an image, average
    precision at IoU 0.5, and both by size, as COCO counts them, all categories as one.
    """
    opened = open_sets(datasets)
    methods: dict[str, FindBoxes] = {}
    sam, name = load_model(options)
    path = detector or detector_standing_on(sam)
    if path is None:
        raise UsageError(
            f"no detector comes with {name}: give --detector FILE; `sa-engine train detector` "
            "makes one"
        )
    device = choose_device(options["device"])
    precision = precision_name(options["precision"], str(device))
    found_by = load_detector(path, sam)
    finder = BoxFinder(sam, found_by, device=device, precision=DTYPES[precision])
    kept = BoxFilter(nms_thresh=nms_thresh, max_boxes=1000)

    def detect(rgb_HW3: NDArray[np.uint8]) -> tuple[NDArray[Any], NDArray[Any]]:
        found = finder.find(finder.encode(rgb_HW3), kept)
        return found.boxes_xyxy_N4, found.scores_N

    methods["detector"] = detect
    if grid is not None:
        methods[f"grid {grid}x{grid}"] = _grid_boxes(sam, grid, str(device), precision)
    pictures: list[PictureBoxes] = []
    for set_name, dataset in opened.items():
        total = len(chosen_images(dataset, set_name, max_images))
        made = evaluate_boxes(dataset, set_name, methods=methods, max_images=max_images)
        for part in bar(made, total, set_name):
            pictures.extend(part)
    titles = ["set", "method", "size", "objects", "boxes", "AR@10", "AR@100", "AR@1000", "AP50"]
    lines = []
    for scores in box_scores(pictures):
        figures = (scores.ar_10, scores.ar_100, scores.ar_1000, scores.ap_50)
        lines.append(
            [
                scores.dataset,
                scores.method,
                scores.size,
                f"{scores.objects:,}",
                f"{scores.boxes:.0f}",
                *("–" if math.isnan(value) else f"{value:.3f}" for value in figures),
            ]
        )
    click.echo(layout(titles, lines, markdown=markdown))
    write(out, [row for picture in pictures for row in found_objects(picture)])


def _grid_boxes(sam: Sam, points_per_side: int, device: str, precision: str) -> FindBoxes:
    """The boxes of a grid's masks, ranked as the paper ranks masks as proposals."""
    generator = MaskGenerator(
        sam,
        proposal_config(GeneratorConfig(points_per_side=points_per_side)),
        device=device,
        precision=precision,
    )

    def find(rgb_HW3: NDArray[np.uint8]) -> tuple[NDArray[Any], NDArray[Any]]:
        made = generator.generate(rgb_HW3)
        boxes_xywh = np.array([m.bbox_xywh for m in made], dtype=np.float64).reshape(-1, 4)
        return box_algebra.xywh_to_xyxy(boxes_xywh), np.array([mask_rank(m) for m in made])

    return find
