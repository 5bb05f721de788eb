"""A run on many machines: which shards are this job's, and with which it begins.

All jobs help with all shards, whatever scheduler started them and however many: shards are claimed
by lease, and one that a lost job leaves is taken up by another. What a scheduler says of a job
array only chooses where a job begins. Its jobs might be few of those that were once submitted, or
belong to a dataset each, so that a part of the shards could be nobody's. Parts are made only where
options ask for them.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from sa_engine.errors import UsageError
from sa_engine.pipelines.run.worker import Part


@dataclass(frozen=True, slots=True)
class ArrayVariables:
    """Where a scheduler says which job of an array this is.

    index: number of this job.
    first, last, step: of the numbers that the array was submitted with; None where the scheduler
        does not say it.
    count: how many jobs there really are; None where the scheduler does not say it.
    base: the least number of a job, and the first where the scheduler does not say that. LSF has 0
        outside an array.
    """

    scheduler: str
    index: str
    first: str | None = None
    last: str | None = None
    step: str | None = None
    count: str | None = None
    base: int = 0


# From the schedulers' manuals.
SCHEDULERS = (
    ArrayVariables(
        "Slurm",
        "SLURM_ARRAY_TASK_ID",
        "SLURM_ARRAY_TASK_MIN",
        "SLURM_ARRAY_TASK_MAX",
        "SLURM_ARRAY_TASK_STEP",
        "SLURM_ARRAY_TASK_COUNT",
    ),
    ArrayVariables(
        "Grid Engine", "SGE_TASK_ID", "SGE_TASK_FIRST", "SGE_TASK_LAST", "SGE_TASK_STEPSIZE"
    ),
    ArrayVariables(
        "LSF", "LSB_JOBINDEX", last="LSB_JOBINDEX_END", step="LSB_JOBINDEX_STEP", base=1
    ),
    ArrayVariables("PBS", "PBS_ARRAY_INDEX"),
    ArrayVariables("Kubernetes", "JOB_COMPLETION_INDEX"),
    ArrayVariables("AWS Batch", "AWS_BATCH_JOB_ARRAY_INDEX", count="AWS_BATCH_JOB_ARRAY_SIZE"),
    ArrayVariables("Google Batch", "BATCH_TASK_INDEX", count="BATCH_TASK_COUNT"),
    ArrayVariables("Cloud Run", "CLOUD_RUN_TASK_INDEX", count="CLOUD_RUN_TASK_COUNT"),
)

LOCAL_RANKS = ("SLURM_LOCALID", "OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID", "LOCAL_RANK")
"""Where launchers (srun, mpirun, torchrun) number the processes that they start on one machine."""


def local_rank(environment: Mapping[str, str]) -> int:
    """Which of the processes of one job on this machine this is, from 0; 0 where nobody says it."""
    found = (_number(environment, name) for name in LOCAL_RANKS)
    return next((rank for rank in found if rank is not None), 0)


def choose_part(
    shard_index: int | None, num_shards: int | None, environment: Mapping[str, str]
) -> Part:
    """This job's part of the shards: as the user says, else all of them.

    shard_index: number of this job, from 0; None to ask the environment.
    num_shards: number of jobs that share the shards out among them; None for no parts.

    Raises UsageError if only one of the two can be known, or the index is not below the number.
    """
    found = (_job_of(variables, environment) for variables in SCHEDULERS)
    job = next((each for each in found if each is not None), None)
    if num_shards is None:
        if shard_index is not None:
            raise UsageError(f"--shard-index {shard_index} needs --num-shards, the number of jobs")
        return Part() if job is None else Part(begin=job.begin)
    index = shard_index
    if index is None and num_shards == 1:
        index = 0
    if index is None and job is not None and job.count in (None, num_shards):
        index = job.index
    if index is None:
        there = ""
        if job is not None:
            jobs = f"an array of {job.count} jobs" if job.count else "an array with gaps"
            there = f" ({job.scheduler} has {jobs})"
        raise UsageError(
            f"--num-shards {num_shards} needs --shard-index, the number of this job from 0 to "
            f"{num_shards - 1}{there}; without both, each job helps with all shards"
        )
    if index >= num_shards:
        raise UsageError(
            f"--shard-index {index} must be below --num-shards {num_shards}; it counts from 0"
        )
    return Part(index, num_shards)


@dataclass(frozen=True, slots=True)
class _Job:
    """A job of an array.

    index: from 0.
    count: jobs of the array; None if that is not said, 0 if numbers are missing between its first
        and its last, so that the index says nothing.
    """

    scheduler: str
    index: int
    count: int | None

    @property
    def begin(self) -> float:
        """Share of the work after which it begins, [0, 1)."""
        if self.count:
            return self.index % self.count / self.count
        # The golden ratio's multiples lie apart from each other, however many there are.
        return self.index * 0.6180339887498949 % 1


def _job_of(variables: ArrayVariables, environment: Mapping[str, str]) -> _Job | None:
    index = _number(environment, variables.index)
    if index is None or index < variables.base:
        return None
    first = _number(environment, variables.first) or variables.base
    step = _number(environment, variables.step) or 1
    last = _number(environment, variables.last)
    count = _number(environment, variables.count)
    if last is not None:
        spanned = (last - first) // step + 1
        count = spanned if count in (None, spanned) else 0
    return _Job(variables.scheduler, (index - first) // step, count)


def _number(environment: Mapping[str, str], name: str | None) -> int | None:
    # Grid Engine says "undefined" outside an array.
    text = environment.get(name, "") if name else ""
    return int(text) if text.isdigit() else None
