"""`sa-engine report`: what a dataset is, or several side by side."""

from pathlib import Path
from typing import Any

import click

from sa_engine.cli.shared.command import GroupedCommand
from sa_engine.cli.shared.console import console
from sa_engine.cli.shared.places import LOCAL_PATH, PLACE
from sa_engine.cli.shared.progress import Meter, count
from sa_engine.formats.registry import Format
from sa_engine.pipelines.run.cores import usable_cores
from sa_engine.report.figures.strangest import COUNT


@click.command(
    "report",
    cls=GroupedCommand,
    resumes=False,
    epilog="Examples:  sa-engine report dataset/ --out report/;  "
    "sa-engine report stage1/ stage3/ instances.json --images photographs/ --out report/",
)
@click.argument("datasets", nargs=-1, required=True, type=PLACE)
@click.option(
    "--out",
    required=True,
    type=LOCAL_PATH,
    help="A new folder for the page; one that `report` wrote before is replaced.",
)
@click.option(
    "--sample", type=click.IntRange(min=1), help="Measure so many images of each, evenly spaced."
)
@click.option(
    "--groups",
    type=LOCAL_PATH,
    help="A CSV, TSV or Parquet table of groups, as countries: a column image_id, source, "
    "file_name or mask_id, and a column for each grouping.",
)
@click.option("--images", help="Where the pictures of foreign annotations lie, as for `import`.")
@click.option(
    "--format",
    "kind",
    type=click.Choice([each.value for each in Format]),
    help="Format of foreign annotations.  [default: found]",
)
@click.option(
    "--strangest",
    type=click.IntRange(min=0, max=200),
    default=COUNT,
    show_default=True,
    help="Images of each list of those that stand out; 0 writes no viewer.",
)
@click.option(
    "--no-look-alikes",
    "look_alikes",
    flag_value=False,
    default=True,
    help="Do not compare the photographs with each other, which takes reading them.",
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    help="Processes that measure.  [default: one for each core]",
)
def command(datasets: tuple[Path | str, ...], kind: str | None, **options: Any) -> None:
    """Write figures of DATASETS as a page, report.json and Parquet; several stand side by side.

    Open OUT/index.html in a browser; it needs no network. Masks an image, relative size, concavity,
    where the centres lie, overlap and nesting, scores, failures, by stage and by model; duplicates
    between images; and the images that stand out, in the viewer. A dataset may also be a file or
    folder in any format that `import` reads, or one that is still being made.
    """
    from sa_engine.pipelines.report.run import ReportRun, write_report

    if options["workers"] is None:
        options["workers"] = usable_cores()
    run = ReportRun(datasets=datasets, format=None if kind is None else Format(kind), **options)
    with Meter("report") as meter:
        summary = write_report(run, progress=lambda _, done, total: meter.to(done, total))
    images, masks = count(summary.images, "image"), count(summary.masks, "mask")
    console().say(f"{summary.page}: {images}, {masks}")
    for note in summary.notes:
        console().say(f"  {note}")
    console().result(summary)
