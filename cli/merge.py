"""`sa-engine merge`: several datasets become one."""

from dataclasses import asdict
from pathlib import Path

import click

from sa_engine.cli.shared.console import console
from sa_engine.cli.shared.options import GroupedCommand, out_option
from sa_engine.cli.shared.places import PLACE
from sa_engine.cli.shared.progress import Meter, count
from sa_engine.dataset.combine import merge
from sa_engine.errors import UsageError


@click.command(
    "merge",
    cls=GroupedCommand,
    epilog="Example:  sa-engine merge manual/ automatic/ --out both/",
)
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

    Ids are assigned again. An image that several datasets have, by its content, comes once with the
    masks of all; the very same mask comes once. One dataset alone, which grew by a few images at a
    time, comes in full shards. The same command again continues an interrupted merge.
    """
    if not datasets:
        raise UsageError("no dataset: give those that are to be one")
    with Meter("merge") as meter:
        report = merge(datasets, out, images_per_shard=images_per_shard, progress=meter.to)
    line = f"{out}: {count(report.num_images, 'image')}, {count(report.num_masks, 'mask')}"
    if report.duplicate_images:
        line += f"; {count(report.duplicate_images, 'duplicate image')} united"
    if report.duplicate_masks:
        line += f", {count(report.duplicate_masks, 'duplicate mask')} left out"
    console().say(line)
    if report.kept_apart:
        console().say(
            f"{count(report.kept_apart, 'image has', 'images have')} the content of another, "
            "stored at another size; they were kept apart"
        )
    record = asdict(report)
    record["images"], record["masks"] = record.pop("num_images"), record.pop("num_masks")
    console().result({"out": str(out), **record})
