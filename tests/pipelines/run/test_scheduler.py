"""Which part of the shards is a job's, from options and from what schedulers set."""

import pytest

from sa_engine.errors import UsageError
from sa_engine.pipelines.run.scheduler import choose_part
from sa_engine.pipelines.run.worker import Part

SLURM = {
    "SLURM_ARRAY_TASK_ID": "12",
    "SLURM_ARRAY_TASK_MIN": "10",
    "SLURM_ARRAY_TASK_MAX": "13",
    "SLURM_ARRAY_TASK_STEP": "1",
}


@pytest.mark.parametrize(
    ("options", "environment", "part"),
    [
        ((None, None), {}, Part(0, 1)),
        ((2, 5), {}, Part(2, 5)),
        ((2, 5), SLURM, Part(2, 5)),
        ((None, None), SLURM, Part(2, 4)),
        (
            (None, None),
            {**SLURM, "SLURM_ARRAY_TASK_STEP": "2", "SLURM_ARRAY_TASK_MAX": "14"},
            Part(1, 3),
        ),
        (
            (None, None),
            {"SGE_TASK_ID": "3", "SGE_TASK_FIRST": "1", "SGE_TASK_LAST": "4"},
            Part(2, 4),
        ),
        ((None, None), {"SGE_TASK_ID": "undefined"}, Part(0, 1)),
        ((None, 8), {"JOB_COMPLETION_INDEX": "7"}, Part(7, 8)),
        ((None, None), {"JOB_COMPLETION_INDEX": "7"}, Part(0, 1)),
        ((None, 8), {"AWS_BATCH_JOB_ARRAY_INDEX": "0"}, Part(0, 8)),
        ((None, 1), {}, Part(0, 1)),
    ],
)
def test_part_of_a_job(
    options: tuple[int | None, int | None], environment: dict[str, str], part: Part
) -> None:
    assert choose_part(*options, environment) == part


@pytest.mark.parametrize(
    ("options", "environment", "words"),
    [
        ((5, 5), {}, "--shard-index 5 must be below --num-shards 5"),
        ((1, None), {}, "--shard-index 1 needs --num-shards"),
        ((None, 4), {}, "--num-shards 4 needs --shard-index"),
        ((None, 4), {"JOB_COMPLETION_INDEX": "4"}, "must be below"),
    ],
)
def test_half_an_answer_is_refused(
    options: tuple[int | None, int | None], environment: dict[str, str], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        choose_part(*options, environment)
