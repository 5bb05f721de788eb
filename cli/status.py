"""`sa-engine status`: how far a dataset is."""

import time
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from sa_engine.cli.shared.command import GroupedCommand
from sa_engine.cli.shared.console import console
from sa_engine.cli.shared.places import PLACE
from sa_engine.cli.shared.printable import in_line
from sa_engine.cli.shared.progress import count, duration
from sa_engine.dataset.records import Stage
from sa_engine.dataset.status import DatasetStatus, FailedImage, failed_images, read_status
from sa_engine.errors import ExitStatus
from sa_engine.formats.work.settings import WORK_JSON


@click.command(
    "status", cls=GroupedCommand, resumes=False, epilog="Example:  sa-engine status dataset/"
)
@click.argument("dataset", type=PLACE)
@click.option(
    "--failures",
    type=click.IntRange(min=0),
    default=20,
    show_default=True,
    help="Name at most so many failed images.",
)
@click.option(
    "--check",
    is_flag=True,
    help="Let the exit status say it: 0 complete, 3 complete with failed images, 5 not complete.",
)
@click.option(
    "--watch",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="Say it again every so many seconds, until the dataset is complete.",
)
def command(dataset: Path | str, failures: int, check: bool, watch: float | None) -> ExitStatus:
    """Say how far DATASET is, who works on it, how fast, and what failed.

    DATASET may also be the folder of people's answers that sa-engine annotate keeps: then images
    and seconds a mask, by annotator and by model.

    May be asked at any time, while others write.
    """
    if isinstance(dataset, Path) and (dataset / WORK_JSON).is_file():
        _say_work(dataset)
        return ExitStatus.DONE
    status = read_status(dataset)
    while watch is not None and not status.is_complete:
        console().note(f"{datetime.now():%H:%M:%S} {dataset}: {_headline(status)}")
        time.sleep(watch)
        status = read_status(dataset)
    console().say(f"{dataset}: {_headline(status)}")
    for each in status.working:
        holder = each.holder
        console().say(
            f"  shard {holder.shard_index}: {each.num_done} of {count(each.num_images, 'image')}, "
            f"by process {holder.pid} on {holder.host}"
        )
    named = failed_images(dataset, limit=failures) if status.num_failed else []
    console().result(_record(status, named))
    verdict = _verdict(status) if check else ExitStatus.DONE
    if not status.num_failed:
        return verdict
    reasons = ", ".join(f"{count} {reason}" for reason, count in status.num_failed.items())
    console().say(f"  failed: {reasons}")
    for failure in named:
        console().say(f"    {failure.image_id} {in_line(failure.source)}: {in_line(failure.error)}")
    return verdict


def _verdict(status: DatasetStatus) -> ExitStatus:
    if not status.is_complete:
        return ExitStatus.INCOMPLETE
    return ExitStatus.SOME_FAILED if status.num_failed else ExitStatus.DONE


def _say_work(work: Path) -> None:
    # Here alone: the status of a dataset needs nothing of the browser tool.
    from sa_engine.annotate.work_status import read_work_status

    status = read_work_status(work)
    answered = status.total - status.images["open"]
    line = f"{work}: {answered} of {status.total} images answered, {status.masks} masks"
    if status.median_s is not None:
        line += f", {status.median_s:.1f} s a mask (median)"
    console().say(line)
    for what, key, rows in (
        ("annotator", "by", status.annotators),
        ("model", "model", status.models),
    ):
        for row in rows:
            name = in_line(str(row[key] or "brush alone"))[:16]
            console().say(f"  {what} {name}: {row['masks']} masks, {row['median_s']:.1f} s a mask")
    for damage in status.damage:
        console().say(f"  damaged: {in_line(damage)}")
    console().result(asdict(status))


def _record(status: DatasetStatus, named: list[FailedImage]) -> dict[str, Any]:
    """The status under the keys of its JSON."""
    manifest = status.manifest
    return {
        "stage": manifest.stage,
        "images": manifest.num_images,
        "images_done": status.num_done,
        "shards": manifest.num_shards,
        "shards_complete": status.num_complete,
        "masks_in_complete_shards": status.num_masks,
        "failed": dict(status.num_failed),
        "failures": named,
        "working": [
            {
                "shard": each.holder.shard_index,
                "host": each.holder.host,
                "pid": each.holder.pid,
                "images_done": each.num_done,
                "images": each.num_images,
            }
            for each in status.working
        ],
        "images_per_s": status.images_per_s,
        "seconds_left": status.seconds_left,
    }


def _headline(status: DatasetStatus) -> str:
    manifest = status.manifest
    line = (
        f"{status.num_done} of {count(manifest.num_images, 'image')}, "
        f"{status.num_complete} of {count(manifest.num_shards, 'shard')} complete"
    )
    if status.num_complete:
        line += f", {count(status.num_masks, 'mask')} in them"
    if status.images_per_s and status.seconds_left is not None:
        line += f"; {status.images_per_s:.2f} images/s, {duration(status.seconds_left)} left"
    elif status.working:
        line += f"; {count(len(status.working), 'worker has', 'workers have')} begun"
    elif not status.is_complete:
        made = manifest.stage in (Stage.AUTOMATIC, Stage.SEMI_AUTOMATIC)
        how = "`sa-engine work`, or the command" if made else "the command"
        line += f"; nobody is at work, {how} that began it continues it"
    return line
