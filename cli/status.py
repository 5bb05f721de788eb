"""`sa-engine status`: how far a dataset is."""

from pathlib import Path

import click

from sa_engine.cli.shared.places import PLACE
from sa_engine.cli.shared.progress import duration
from sa_engine.dataset.status import DatasetStatus, failed_images, read_status


@click.command("status", epilog="Example:  sa-engine status dataset/")
@click.argument("dataset", type=PLACE)
@click.option(
    "--failures",
    type=click.IntRange(min=0),
    default=20,
    show_default=True,
    help="Name at most so many failed images.",
)
def command(dataset: Path | str, failures: int) -> None:
    """Say how far DATASET is, who works on it, how fast, and what failed.

    May be asked at any time, while others write.
    """
    status = read_status(dataset)
    click.echo(f"{dataset}: {_headline(status)}")
    for each in status.working:
        holder = each.holder
        click.echo(
            f"  shard {holder.shard_index}: {each.num_done} of {each.num_images} images, "
            f"by process {holder.pid} on {holder.host}"
        )
    if not status.num_failed:
        return
    reasons = ", ".join(f"{count} {reason}" for reason, count in status.num_failed.items())
    click.echo(f"  failed: {reasons}")
    for failure in failed_images(dataset, limit=failures):
        click.echo(f"    {failure.image_id} {failure.source}: {failure.error}")


def _headline(status: DatasetStatus) -> str:
    manifest = status.manifest
    line = (
        f"{status.num_done} of {manifest.num_images} images, "
        f"{status.num_complete} of {manifest.num_shards} shards complete"
    )
    if status.num_complete:
        line += f", {status.num_masks} masks in them"
    if status.images_per_s and status.seconds_left is not None:
        line += f"; {status.images_per_s:.2f} images/s, {duration(status.seconds_left)} left"
    elif status.num_complete < manifest.num_shards:
        line += "; nobody is at work, the command that began it continues it"
    return line
