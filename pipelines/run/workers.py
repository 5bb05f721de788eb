"""Who does the work of a run."""

from dataclasses import dataclass, field

from sa_engine.pipelines.run.worker import Part


@dataclass(frozen=True, slots=True, kw_only=True)
class Workers:
    """Who does the work.

    count: processes on this machine, from 1. With several GPUs each takes the next one.
    first: number of the first of them on this machine, from 0, where a job has several such teams.
    part: which of the shards are theirs.
    max_failures: failed images after which the run stops as plainly wrong; None for no limit.
    retry_failed: try the images again that had failed before the run began.
    repair: first check the bytes of the shards that are complete, and make damaged ones again.
    wait: for shards that others have in hand, in case they are lost; else end once all are taken.
    image_seconds: after so long without a word from a worker that has a shard in hand, it is
        stopped, and another goes on; an image that this befalls twice is passed over. > 0; None for
        no limit.
    max_seconds: after so long stop as by a signal, > 0; None for no limit.
    """

    count: int = 1
    first: int = 0
    part: Part = field(default_factory=Part)
    max_failures: int | None = None
    retry_failed: bool = False
    repair: bool = False
    wait: bool = True
    image_seconds: float | None = None
    max_seconds: float | None = None
