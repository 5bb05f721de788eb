"""`sa-engine evaluate edges`."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sa_engine.cli.evaluate.shared import bar, load_model, open_sets, write
from sa_engine.cli.shared.console import console
from sa_engine.evaluation.edges.maps import EdgeConfig, edge_map
from sa_engine.evaluation.edges.scores import (
    EdgeCounts,
    edge_rows,
    edge_scores,
    evaluate_edges,
)
from sa_engine.evaluation.points import chosen_images
from sa_engine.evaluation.summary import layout
from sa_engine.model.device import choose_device, choose_precision
from sa_engine.model.predictor import Predictor


def measure_edges(
    datasets: tuple[Path | str, ...],
    points_per_side: int,
    num_thresholds: int,
    max_images: int | None,
    out: Path | None,
    markdown: bool,
    **options: Any,
) -> None:
    """See `evaluate edges`."""
    opened = open_sets(datasets)
    sam, _ = load_model(options)
    device = choose_device(options["device"])
    predictor = Predictor(sam, device, choose_precision(options["precision"], device))
    config = EdgeConfig(points_per_side=points_per_side)

    def find(rgb_HW3: NDArray[np.uint8]) -> NDArray[np.float32]:
        return edge_map(predictor, rgb_HW3, config)

    lines: list[list[str]] = []
    rows: list[dict[str, Any]] = []
    every: list[EdgeCounts] = []
    for name, dataset in opened.items():
        total = len(chosen_images(dataset, name, max_images))
        made = evaluate_edges(
            dataset, name, find=find, num_thresholds=num_thresholds, max_images=max_images
        )
        counts = list(bar(made, total, name))
        scores = edge_scores(counts)
        figures = (scores.ods, scores.ois, scores.ap, scores.r50)
        lines.append([name, f"{scores.images}", *(f"{value:.3f}" for value in figures)])
        rows.append({"set": name, **dataclasses.asdict(scores)})
        every += counts
    console().say(layout(["set", "images", "ODS", "OIS", "AP", "R50"], lines, markdown=markdown))
    console().result({"rows": rows})
    write(out, [row for counts in every for row in edge_rows(counts)])
