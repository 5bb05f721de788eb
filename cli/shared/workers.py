"""From a command's run options to the workers that they ask for."""

import os
from typing import TYPE_CHECKING, Any

from sa_engine.cli.shared.console import console
from sa_engine.cli.shared.options import take
from sa_engine.pipelines.run.scheduler import choose_part, local_rank
from sa_engine.pipelines.run.workers import Workers

if TYPE_CHECKING:
    from sa_engine.pipelines.run.start import Execute


def take_workers(options: dict[str, Any]) -> Workers:
    """Move the options that say who works, and how, out of a command's options.

    What they leave to the scheduler of a job array is read from the environment. Raises UsageError
    as `choose_part` does.
    """
    part = choose_part(options.pop("shard_index"), options.pop("num_shards"), os.environ)
    chosen = take(options, ["max_failures", "retry_failed", "repair"])
    count = options.pop("workers")
    image_seconds = options.pop("image_seconds") or None
    return Workers(
        count=count,
        first=local_rank(os.environ) * count,
        part=part,
        image_seconds=image_seconds,
        **chosen,
    )


def take_executor(options: dict[str, Any]) -> "Execute":
    """Move the `executor_options` out of a command's options: who does the work."""
    kind, address = options.pop("executor"), options.pop("ray_address")
    gpus, cpus = options.pop("gpus_per_worker"), options.pop("cpus_per_worker")
    # Here, so that --help waits for none of it.
    if kind == "local":
        from sa_engine.pipelines.run.start import run_workers

        return run_workers
    from sa_engine.pipelines.executors.on_ray import RayExecutor

    address = None if address == "local" else address
    return RayExecutor(address=address, gpus=gpus, cpus=cpus, note=console().note)
