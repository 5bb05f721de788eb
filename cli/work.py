"""`sa-engine work`: a worker's share of a dataset that was begun or prepared."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from sa_engine.cli.shared.options import (
    GroupedCommand,
    executor_options,
    option,
    take,
    working_options,
)
from sa_engine.cli.shared.places import DEVICE, PLACE, WEIGHTS
from sa_engine.cli.shared.progress import RunBar
from sa_engine.cli.shared.run_summary import report_run
from sa_engine.cli.shared.workers import take_executor, take_workers
from sa_engine.pipelines.working import WorkRun, run_work


@click.command("work", cls=GroupedCommand, epilog="Example:  sa-engine work dataset/ --no-wait")
@click.argument("out", metavar="DATASET", type=PLACE)
@option(
    "--checkpoint",
    group="Files",
    type=WEIGHTS,
    help="The model's file, if it does not come with the engine; it is known by its SHA-256.",
)
@option(
    "--detector",
    group="Files",
    type=WEIGHTS,
    help="The detector's file, if it does not come with the engine.",
)
@option(
    "--existing",
    group="Files",
    type=PLACE,
    help="The dataset that `semi` was given as --existing.",
)
@option(
    "--device",
    group="Run",
    type=DEVICE,
    default="auto",
    show_default=True,
    help="Where the model runs: auto, cpu, cuda, cuda:N or mps; auto takes a GPU if there is one.",
)
@working_options
@executor_options
@option(
    "--wait/--no-wait",
    group="Run",
    default=True,
    show_default=True,
    help="Stay until the dataset is complete, in case another worker is lost; or end as soon as "
    "others have in hand what is left, so that no GPU is idle.",
)
@option(
    "--max-seconds",
    group="Run",
    type=click.FloatRange(min=0, min_open=True),
    help="After so long finish the image in hand and end with 130, to be continued.",
)
def command(out: Path | str, wait: bool, max_seconds: float | None, **options: Any) -> int:
    """Help to make DATASET, which `auto` or `semi` has begun, or prepared with --prepare.

    All that the work needs is in the dataset: its list of images, its options, its precision. Any
    number of these may run, on any machines that see it, started by any scheduler; each takes what
    is free, and takes up what a lost one has left. The dataset ends with the same bytes however
    many there were.

    Exit status: 0 nothing is left to do; 1 engine error; 2 usage; 3 done, but some images failed;
    130 interrupted, to be continued.
    """
    failed_ok, execute = options.pop("failed_images_ok"), take_executor(options)
    files = take(options, ["checkpoint", "detector", "existing", "device"])
    workers = take_workers({**options, "shard_index": None, "num_shards": None})
    run = WorkRun(out=out, workers=replace(workers, wait=wait, max_seconds=max_seconds), **files)
    with RunBar("work") as bar:
        summary = run_work(run, progress=bar, execute=execute)
    return report_run(summary, failed_ok=failed_ok, beside={})
