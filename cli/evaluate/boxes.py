"""`sa-engine evaluate boxes`: a detector's boxes against the known objects."""

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sa_engine.automask.config import GeneratorConfig
from sa_engine.automask.generator import MaskGenerator
from sa_engine.cli.evaluate.shared import (
    bar,
    load_model,
    open_sets,
    precision_name,
    write,
)
from sa_engine.cli.shared.console import console
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


def measure_boxes(
    datasets: tuple[Path | str, ...],
    detector: Path | None,
    grid: int | None,
    nms_thresh: float,
    max_images: int | None,
    out: Path | None,
    markdown: bool,
    **options: Any,
) -> None:
    """See `evaluate boxes`."""
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
    measured = list(box_scores(pictures))
    for scores in measured:
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
    console().say(layout(titles, lines, markdown=markdown))
    console().result({"rows": measured})
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
