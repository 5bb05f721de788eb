"""Who does the work of a run."""

from dataclasses import dataclass, field

from sa_engine.pipelines.run.worker import Part


@dataclass(frozen=True, slots=True, kw_only=True)
class Workers:
    """Who does the work.

    count: processes on this machine, from 1. With several GPUs each takes the next one.
    part: which of the shards are theirs.
    max_failures: failed images after which the run stops as plainly wrong; None for no limit.
    retry_failed: try the images again that had failed before the run began.
    repair: first check the bytes of the shards that are complete, and make damaged ones anew.
    """

    count: int = 1
    part: Part = field(default_factory=Part)
    max_failures: int | None = None
    retry_failed: bool = False
    repair: bool = False
