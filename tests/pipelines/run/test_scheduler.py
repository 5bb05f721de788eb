"""Which part of the shards is a job's, from options and from what schedulers set."""

import pytest

from sa_engine.errors import UsageError
from sa_engine.pipelines.run.scheduler import choose_part, local_rank
from sa_engine.pipelines.run.worker import Part

SLURM = {
    "SLURM_ARRAY_TASK_ID": "12",
    "SLURM_ARRAY_TASK_MIN": "10",
    "SLURM_ARRAY_TASK_MAX": "13",
    "SLURM_ARRAY_TASK_STEP": "1",
    "SLURM_ARRAY_TASK_COUNT": "4",
}


def slurm(*numbers: int, task: int) -> dict[str, str]:
    """What Slurm sets for one job of `--array=` with these numbers."""
    return {
        "SLURM_ARRAY_TASK_ID": str(task),
        "SLURM_ARRAY_TASK_MIN": str(min(numbers)),
        "SLURM_ARRAY_TASK_MAX": str(max(numbers)),
        "SLURM_ARRAY_TASK_STEP": "1",
        "SLURM_ARRAY_TASK_COUNT": str(len(numbers)),
    }


@pytest.mark.parametrize(
    ("options", "environment", "part"),
    [
        ((None, None), {}, Part(0, 1)),
        ((2, 5), {}, Part(2, 5)),
        ((2, 5), SLURM, Part(2, 5)),
        ((None, None), SLURM, Part(begin=0.5)),
        ((None, 4), SLURM, Part(2, 4)),
        (
            (None, 3),
            {
                **SLURM,
                "SLURM_ARRAY_TASK_STEP": "2",
                "SLURM_ARRAY_TASK_MAX": "14",
                "SLURM_ARRAY_TASK_COUNT": "3",
            },
            Part(1, 3),
        ),
        (
            (None, None),
            {"SGE_TASK_ID": "3", "SGE_TASK_FIRST": "1", "SGE_TASK_LAST": "4"},
            Part(begin=0.5),
        ),
        ((None, None), {"SGE_TASK_ID": "undefined"}, Part(0, 1)),
        ((None, 8), {"JOB_COMPLETION_INDEX": "7"}, Part(7, 8)),
        ((None, 8), {"AWS_BATCH_JOB_ARRAY_INDEX": "0"}, Part(0, 8)),
        (
            (None, None),
            {"AWS_BATCH_JOB_ARRAY_INDEX": "3", "AWS_BATCH_JOB_ARRAY_SIZE": "4"},
            Part(begin=0.75),
        ),
        (
            (None, None),
            {"LSB_JOBINDEX": "3", "LSB_JOBINDEX_END": "4", "LSB_JOBINDEX_STEP": "1"},
            Part(begin=0.5),
        ),
        ((None, 4), {"LSB_JOBINDEX": "1", "LSB_JOBINDEX_END": "4"}, Part(0, 4)),
        ((None, None), {"LSB_JOBINDEX": "0"}, Part()),
        ((None, 4), {"PBS_ARRAY_INDEX": "2"}, Part(2, 4)),
        ((None, None), {"BATCH_TASK_INDEX": "1", "BATCH_TASK_COUNT": "4"}, Part(begin=0.25)),
        (
            (None, 2),
            {"CLOUD_RUN_TASK_INDEX": "1", "CLOUD_RUN_TASK_COUNT": "2"},
            Part(1, 2),
        ),
        ((None, 1), {}, Part(0, 1)),
        ((None, 1), SLURM, Part(0, 1)),
    ],
)
def test_part_of_a_job(
    options: tuple[int | None, int | None], environment: dict[str, str], part: Part
) -> None:
    assert choose_part(*options, environment) == part


@pytest.mark.parametrize(
    ("environment", "rank"),
    [
        ({}, 0),
        ({"SLURM_LOCALID": "3"}, 3),
        ({"OMPI_COMM_WORLD_LOCAL_RANK": "1"}, 1),
        ({"LOCAL_RANK": "2"}, 2),
        ({"LOCAL_RANK": "many"}, 0),
    ],
)
def test_processes_of_a_job_on_one_machine_are_told_apart(
    environment: dict[str, str], rank: int
) -> None:
    assert local_rank(environment) == rank


@pytest.mark.parametrize(
    "numbers", [(0,), (3,), (1, 3), (1, 5, 9), tuple(range(16)), (0, 2, 4, 6), (7, 8, 9)]
)
def test_the_jobs_of_an_array_do_all_shards_whichever_they_are(numbers: tuple[int, ...]) -> None:
    """An array of some numbers alone, or of a dataset each, leaves no shard to nobody."""
    parts = [choose_part(None, None, slurm(*numbers, task=task)) for task in numbers]
    for part in parts:
        assert sorted(part.ordered(range(10), 10)) == list(range(10))
        assert all(index in part for index in range(10))
    begun = {part.ordered(range(1000), 1000)[0] for part in parts}
    assert len(begun) == len(numbers)


def test_shards_are_done_from_where_a_job_begins() -> None:
    assert Part(begin=0.5).ordered([0, 1, 4, 5, 7], 8) == [4, 5, 7, 0, 1]
    assert Part().ordered([4, 0], 8) == [0, 4]
    assert choose_part(None, None, {"JOB_COMPLETION_INDEX": "0"}).begin == 0


@pytest.mark.parametrize(
    ("options", "environment", "words"),
    [
        ((5, 5), {}, "--shard-index 5 must be below --num-shards 5"),
        ((1, None), {}, "--shard-index 1 needs --num-shards"),
        ((None, 4), {}, "--num-shards 4 needs --shard-index"),
        ((None, 4), {"JOB_COMPLETION_INDEX": "4"}, "must be below"),
        # Numbers are missing: which part is whose cannot be told.
        ((None, 4), slurm(1, 3, task=3), "needs --shard-index"),
        ((None, 8), SLURM, r"needs --shard-index.*Slurm has an array of 4 jobs"),
    ],
)
def test_half_an_answer_is_refused(
    options: tuple[int | None, int | None], environment: dict[str, str], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        choose_part(*options, environment)
