"""`sa-engine show`: a page to look through a dataset, or two side by side."""

from pathlib import Path

import click

from sa_engine.cli.shared.command import GroupedCommand
from sa_engine.cli.shared.console import console
from sa_engine.cli.shared.places import LOCAL_PATH, PLACE
from sa_engine.cli.shared.progress import Meter, count
from sa_engine.dataset.reader import Dataset
from sa_engine.pipelines.viewer import LIMIT, MAX_SIDE, ViewerRun, write_viewer
from sa_engine.report.viewer.page import ViewerImage


@click.command(
    "show",
    cls=GroupedCommand,
    resumes=False,
    epilog="Examples:  sa-engine show dataset/ --out pictures/;  sa-engine show a/ b/ --out ab/",
)
@click.argument("datasets", nargs=-1, required=True, type=PLACE)
@click.option(
    "--out",
    required=True,
    type=LOCAL_PATH,
    help="A new folder for the page; one that `show` wrote before is replaced.",
)
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=LIMIT,
    show_default=True,
    help="Only the first so many images.",
)
@click.option(
    "--max-side",
    type=click.IntRange(min=64),
    default=MAX_SIDE,
    show_default=True,
    help="Store photographs with a longer side reduced to so many pixels; masks keep theirs.",
)
@click.option(
    "--overlays", is_flag=True, help="Also write each image with its masks as a JPEG, overlays/."
)
def command(
    datasets: tuple[Path | str, ...], out: Path, limit: int, max_side: int, overlays: bool
) -> None:
    """Write a page to look through DATASETS: one, or two to be held against each other.

    Open OUT/index.html in a browser; it needs no network. Images are filtered and sorted by stage,
    scores, area, category and failure; keys lead from image to image and from mask to mask, and
    zoom goes down to the pixel. Of two datasets the masks that match (IoU 0.5) have one colour, the
    others are red. A dataset that is still being made is shown as far as it is.
    """
    run = ViewerRun(datasets=datasets, out=out, limit=limit, max_side=max_side, overlays=overlays)
    total = max(len(Dataset(each, allow_incomplete=True)) for each in datasets)
    total = min(total, limit)
    with Meter("show", total=total) as meter:

        def advance(_image: ViewerImage) -> None:
            meter.step()

        summary = write_viewer(run, progress=advance)
    images, masks = count(summary.images, "image"), count(summary.masks, "mask")
    line = f"{summary.page}: {images}, {masks}"
    if len(datasets) > 1:
        line += f", {summary.matched} of the first have a counterpart in the second"
    if summary.failed:
        line += f"; {count(summary.failed, 'image')} failed"
    if summary.without_photograph:
        gone = count(summary.without_photograph, "photograph is", "photographs are")
        line += f"; {gone} no longer where they were"
    if summary.left_out:
        line += f"; {count(summary.left_out, 'more image')} left out by --limit"
    if not summary.is_complete:
        line += "; the rest is still being made"
    console().say(line)
    console().result(summary)
