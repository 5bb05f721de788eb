"""`sa-engine merge`: several datasets become one."""

import sys
from pathlib import Path

import click
from tqdm import tqdm

from sa_engine.cli.shared.options import out_option
from sa_engine.cli.shared.places import PLACE
from sa_engine.dataset.combine import merge
from sa_engine.errors import UsageError


@click.command("merge", epilog="Example:  sa-engine merge manual/ automatic/ --out both/")
@click.argument("datasets", nargs=-1, type=PLACE)
@out_option
@click.option(
    "--images-per-shard",
    type=click.IntRange(min=1),
    help="Images of each shard.  [default: the first dataset's]",
)
def command(
    datasets: tuple[Path | str, ...], out: Path | str, images_per_shard: int | None
) -> None:
    """Put the images and masks of DATASETS into one new dataset.

    Ids are given anew. An image that several datasets have, by its content, comes once with the
    masks of all; the very same mask comes once. The same command again continues an interrupted
    merge.
    """
    if len(datasets) < 2:
        raise UsageError(f"give two datasets or more to merge, not {len(datasets)}")
    with tqdm(desc="merge", unit="img", disable=not sys.stderr.isatty()) as bar:

        def advance(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        report = merge(datasets, out, images_per_shard=images_per_shard, progress=advance)
    line = f"{out}: {report.num_images} images, {report.num_masks} masks"
    if report.duplicate_images:
        line += f"; {report.duplicate_images} duplicate images united"
    if report.duplicate_masks:
        line += f", {report.duplicate_masks} duplicate masks left out"
    click.echo(line)
    if report.kept_apart:
        click.echo(
            f"{report.kept_apart} images have the content of another but are stored at another "
            "size; they were kept apart"
        )
