"""`sa-engine show`: a dataset as pictures and a page for people."""

import sys
from pathlib import Path

import click
from tqdm import tqdm

from sa_engine.cli.shared.places import LOCAL_PATH, PLACE
from sa_engine.dataset.reader import Dataset
from sa_engine.dataset.records import ImageRecord
from sa_engine.pipelines.pictures import write_pictures


@click.command("show", epilog="Example:  sa-engine show dataset/ --out pictures/")
@click.argument("dataset", type=PLACE)
@click.option(
    "--out",
    required=True,
    type=LOCAL_PATH,
    help="Folder for the pictures and index.html.",
)
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=200,
    show_default=True,
    help="Only the first so many images; each makes the page larger.",
)
def command(dataset: Path | str, out: Path, limit: int) -> None:
    """Write an overlay picture for each image and one page to look through them.

    The page is a single file that needs no network: hover over a mask for its id, area, predicted
    IoU and stability. A dataset that is still being made is shown as far as it is.
    """
    opened = Dataset(dataset, allow_incomplete=True)
    total = min(limit, len(opened))
    with tqdm(total=total, desc="show", unit="img", disable=not sys.stderr.isatty()) as bar:

        def advance(_record: ImageRecord) -> None:
            bar.update()

        summary = write_pictures(opened, out, limit=limit, progress=advance)
    line = f"{summary.page}: {summary.images} images, {summary.masks} masks"
    if summary.without_photograph:
        line += f"; {summary.without_photograph} photographs are no longer where they were"
    click.echo(line)
