"""`sa-engine model compare`: do two precisions, devices or models find the same masks?"""

import json
from pathlib import Path
from typing import Any

import click

from sa_engine.automask.config import PRESETS, GeneratorConfig
from sa_engine.automask.parity import MATCH_IOU
from sa_engine.cli.shared.console import console
from sa_engine.cli.shared.options import (
    GroupedCommand,
    images_option,
    option,
    option_names,
    options_from,
    take,
    take_images,
)
from sa_engine.cli.shared.places import DEVICE, PRECISION, OutFile, refuse_existing
from sa_engine.dataset.folder.draft import written_whole
from sa_engine.errors import ExitStatus, UsageError
from sa_engine.model.bundled import DEFAULT_MODEL


@click.command(
    "compare",
    cls=GroupedCommand,
    resumes=False,
    epilog="Example:  sa-engine model compare photos/ --precision fp32 bf16 "
    "--out parity.md --out parity.json",
)
@images_option
@option(
    "--precision",
    group="What to compare",
    nargs=2,
    metavar="A B",
    default=("fp32", "auto"),
    show_default="fp32 auto",
    type=PRECISION,
    help="Two of auto, fp32, bf16 and fp16.",
)
@option(
    "--device",
    group="What to compare",
    nargs=2,
    metavar="A B",
    default=("auto", "auto"),
    show_default="auto auto",
    type=DEVICE,
    help="Two of auto, cpu, cuda, cuda:N and mps.",
)
@option(
    "--model",
    "models",
    group="What to compare",
    multiple=True,
    metavar="NAME|FILE",
    help="A weights file, or a model that comes with the engine; once for both, or twice: A and B. "
    f" [default: {DEFAULT_MODEL}]",
)
@option(
    "--match-iou",
    group="What to compare",
    type=float,
    default=MATCH_IOU,
    show_default=True,
    help="Masks with at least this IoU count as the same.",
)
@option(
    "--preset",
    group="Masks",
    type=click.Choice(list(PRESETS)),
    default="default",
    show_default=True,
    help="As for `sa-engine auto`; thresholds that a card recommends are those of A's.",
)
@options_from(GeneratorConfig, group="Masks")
@option(
    "--limit",
    group="Run",
    type=click.IntRange(min=1),
    help="Only the first so many images of the sorted list.",
)
@option(
    "--out",
    "targets",
    group="Run",
    type=OutFile(".json", ".md"),
    multiple=True,
    help="Also write the report here: .md the table, .json every pair of masks and every mask that "
    "only one has. May be given twice.",
)
@click.option("--force", is_flag=True, help="Replace the files of --out if they are there.")
def command(
    precision: tuple[str, str],
    device: tuple[str, str],
    models: tuple[str, ...],
    match_iou: float,
    preset: str,
    limit: int | None,
    targets: tuple[Path, ...],
    force: bool,
    **options: Any,
) -> int:
    """Make all masks of some images twice, A and B, and report how they agree.

    For each image: masks of A and of B, pairs that are the same mask, their mean and least IoU,
    masks that only one has, and the greatest change of a predicted IoU or stability. "order" is
    "same" if all masks are, pixel for pixel and in order, "pixels" if only pixels differ.

    Exit status: 0 done; 2 usage; 3 done, but some images could not be read.
    """
    # Here, so that --help does not wait for torch.
    from sa_engine.model.weights import find_model
    from sa_engine.pipelines.compare import ComparisonRun, Side, run_comparison
    from sa_engine.report.parity_report import as_json, as_text

    if len(models) > 2:
        raise UsageError(f"--model was given {len(models)} times; give it once, or twice: A and B")
    for target in targets:
        refuse_existing(target, force=force)
    files = [find_model(name) for name in models or (DEFAULT_MODEL,)]
    first, second = (
        Side(checkpoint=files[i % len(files)], device=device[i], precision=precision[i])
        for i in range(2)
    )
    images = take_images(options)
    chosen = take(options, option_names(GeneratorConfig))
    comparison = run_comparison(
        ComparisonRun(
            images=images,
            first=first,
            second=second,
            preset=preset,
            generator_options={name: value for name, value in chosen.items() if value is not None},
            limit=limit,
            match_iou=match_iou,
        ),
        progress=lambda done: console().note(f"{done.source}: done"),
    )
    for target in targets:
        if target.suffix == ".json":
            text = json.dumps(as_json(comparison), indent=1) + "\n"
        else:
            text = as_text(comparison, markdown=True)
        with written_whole(target) as draft:
            draft.write_text(text, encoding="utf-8")
    for line in as_text(comparison).splitlines():
        console().say(line)
    console().result(as_json(comparison))
    return ExitStatus.SOME_FAILED if comparison.failures else ExitStatus.DONE
