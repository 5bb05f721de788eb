"""From a command's run options to the workers that they ask for."""

import os
from typing import Any

from sa_engine.cli.shared.options import take
from sa_engine.pipelines.run.scheduler import choose_part, local_rank
from sa_engine.pipelines.run.workers import Workers


def take_workers(options: dict[str, Any]) -> Workers:
    """Move the options that say who works, and how, out of a command's options.

    What they leave to the scheduler of a job array is read from the environment. Raises UsageError
    as `choose_part` does.
    """
    part = choose_part(options.pop("shard_index"), options.pop("num_shards"), os.environ)
    chosen = take(options, ["max_failures", "retry_failed", "repair"])
    count = options.pop("workers")
    return Workers(count=count, first=local_rank(os.environ) * count, part=part, **chosen)
