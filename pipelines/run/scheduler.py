"""A run on many machines: which part of the shards is this job's.

A job array starts the same command many times and tells each job its number through the
environment. Shards are claimed by lease all the same, so that a job that is requeued, or started
twice, does no harm.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from sa_engine.errors import UsageError
from sa_engine.pipelines.run.worker import Part


@dataclass(frozen=True, slots=True)
class ArrayVariables:
    """Where a scheduler says which job of an array this is; `first` is None where it is 0."""

    scheduler: str
    index: str
    first: str | None
    last: str | None
    step: str | None


# From the schedulers' manuals; those without a `last` need --num-shards.
SCHEDULERS = (
    ArrayVariables(
        "Slurm",
        "SLURM_ARRAY_TASK_ID",
        "SLURM_ARRAY_TASK_MIN",
        "SLURM_ARRAY_TASK_MAX",
        "SLURM_ARRAY_TASK_STEP",
    ),
    ArrayVariables(
        "Grid Engine", "SGE_TASK_ID", "SGE_TASK_FIRST", "SGE_TASK_LAST", "SGE_TASK_STEPSIZE"
    ),
    ArrayVariables("Kubernetes", "JOB_COMPLETION_INDEX", None, None, None),
    ArrayVariables("AWS Batch", "AWS_BATCH_JOB_ARRAY_INDEX", None, None, None),
)


def choose_part(
    shard_index: int | None, num_shards: int | None, environment: Mapping[str, str]
) -> Part:
    """This job's part of the shards: as the user says, else as the scheduler says, else all.

    shard_index: number of this job, from 0; None to ask the environment.
    num_shards: number of jobs; None to ask the environment.

    Raises UsageError if only one of the two can be known, or the index is not below the number.
    """
    index, count = shard_index, num_shards
    if index is None:
        found = (_from_environment(variables, environment) for variables in SCHEDULERS)
        index, there = next((pair for pair in found if pair[0] is not None), (None, None))
        count = there if count is None else count
        if index is None and count is not None and count > 1:
            raise UsageError(
                f"--num-shards {count} needs --shard-index, the number of this job from 0 to "
                f"{count - 1}"
            )
        if index is None or count is None:
            # Nobody speaks of parts, or of how many there are: each job helps with everything.
            return Part()
    if count is None:
        raise UsageError(f"--shard-index {index} needs --num-shards, the number of jobs")
    if index >= count:
        raise UsageError(
            f"--shard-index {index} must be below --num-shards {count}; it counts from 0"
        )
    return Part(index, count)


def _from_environment(
    variables: ArrayVariables, environment: Mapping[str, str]
) -> tuple[int | None, int | None]:
    """(index from 0, number of jobs) of a job array; None for what is not said."""
    index = _number(environment, variables.index)
    if index is None:
        return None, None
    first = (_number(environment, variables.first) or 0) if variables.first else 0
    step = (_number(environment, variables.step) or 1) if variables.step else 1
    last = _number(environment, variables.last) if variables.last else None
    count = None if last is None else (last - first) // step + 1
    return (index - first) // step, count


def _number(environment: Mapping[str, str], name: str) -> int | None:
    # Grid Engine says "undefined" outside an array.
    text = environment.get(name, "")
    return int(text) if text.isdigit() else None
