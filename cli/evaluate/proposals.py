"""`sa-engine evaluate proposals`."""

import dataclasses
from pathlib import Path
from typing import Any

from sa_engine.automask.config import GeneratorConfig
from sa_engine.automask.generator import MaskGenerator
from sa_engine.cli.evaluate.shared import (
    bar,
    category_frequencies,
    load_model,
    open_sets,
    precision_name,
    write,
)
from sa_engine.cli.shared.console import console
from sa_engine.evaluation.points import chosen_images
from sa_engine.evaluation.proposals import (
    FoundObjects,
    average_recall,
    evaluate_proposals,
    proposal_config,
)
from sa_engine.evaluation.summary import layout
from sa_engine.model.device import choose_device


def measure_proposals(
    datasets: tuple[Path | str, ...],
    points_per_side: int,
    max_images: int | None,
    out: Path | None,
    markdown: bool,
    **options: Any,
) -> None:
    """See `evaluate proposals`."""
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
    rows: list[dict[str, Any]] = []
    found: list[FoundObjects] = []
    for set_name, dataset in opened.items():
        total = len(chosen_images(dataset, set_name, max_images))
        of_set: list[FoundObjects] = []
        made = evaluate_proposals(
            dataset,
            set_name,
            generate=generator.generate,
            max_images=max_images,
            frequencies=category_frequencies(dataset),
        )
        for part in bar(made, total, set_name):
            of_set.extend(part)
        for size, recall in average_recall(of_set).items():
            numbers = [f"{recall.objects:,}", f"{recall.at_100:.3f}", f"{recall.at_1000:.3f}"]
            lines.append([set_name, size, *numbers])
            rows.append({"set": set_name, "size": size, **dataclasses.asdict(recall)})
        found.extend(of_set)
    titles = ["set", "objects of", "objects", "AR@100", "AR@1000"]
    console().say(layout(titles, lines, markdown=markdown))
    console().result({"rows": rows})
    write(out, found)
