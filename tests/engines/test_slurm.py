"""`sa-engine submit slurm` on a real Slurm: what is stopped, killed or refused loses nothing."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.cli.conftest import command_line, environment
from tests.support.same_bytes import content
from tests.support.slurm import Slurm

NUM_SHARDS = 4
SMALL_JOB = ("--gpus", "0", "--cpus", "1", "--memory", "1G")


@pytest.fixture
def options(small_model: Path, tmp_path: Path) -> list[str]:
    """What `auto` is told but for --out: eight pictures, four shards."""
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    random = np.random.default_rng(1)
    for number in range(2 * NUM_SHARDS):
        coarse = random.integers(0, 256, (9, 12, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((120, 90)).save(pictures / f"{number}.png")
    return [
        *("--images", str(pictures), "--checkpoint", str(small_model), "--points-per-side", "16"),
        *("--images-per-shard", "2", "--precision", "fp32", "--device", "cpu"),
    ]


def engine(*words: str | Path, slurm: Slurm | None = None) -> subprocess.CompletedProcess[str]:
    variables = environment() | ({} if slurm is None else slurm.environment)
    return subprocess.run(
        command_line(*words),
        env={**variables, "PYTHONPATH": environment()["PYTHONPATH"], "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )


def submit(slurm: Slurm, dataset: Path, model: Path, *words: str) -> str:
    """Hands the work over. Returns the array's id."""
    line: tuple[str | Path, ...] = (
        "submit",
        "slurm",
        dataset,
        "--checkpoint",
        model,
        *SMALL_JOB,
        *words,
        "--json",
    )
    done = engine(*line, slurm=slurm)
    assert done.returncode == 0, done.stderr
    (job,) = json.loads(done.stdout)["jobs"]
    return str(job)


def logs(dataset: Path) -> str:
    folder = dataset.with_name(dataset.name + ".slurm")
    return "\n".join(path.read_text() for path in sorted(folder.glob("*.log")))


def test_an_array_that_is_stopped_and_killed_ends_with_the_bytes_of_one_run(
    slurm: Slurm, options: list[str], small_model: Path, tmp_path: Path
) -> None:
    dataset = tmp_path / "a dataset of 100%"
    assert engine("auto", *options, "--out", dataset, "--prepare").returncode == 0
    job = submit(slurm, dataset, small_model, "--workers", "3")

    def see(*expected: str) -> bool:
        states = slurm.states(job)
        return len(states) == 3 and set(states.values()) <= set(expected)

    slurm.wait("running array", lambda: see("RUNNING"))
    # A signal to what has not begun is lost.
    for number in range(3):
        slurm.wait("step", lambda: "State=RUNNING" in slurm.steps(f"{job}_{number}"))  # noqa: B023
    # One is killed, as by a lost node; one is stopped, as by preemption, wherever it is by now.
    slurm.run("scancel", "--full", "--signal=KILL", f"{job}_0")
    slurm.run("scancel", "--signal=TERM", f"{job}_1")
    slurm.wait("end of the array", lambda: see("COMPLETED", "CANCELLED", "FAILED"))
    said = logs(dataset)
    # The others have done it all, or what was in hand is left; both is seen from outside.
    checked = engine("status", dataset, "--check")
    assert checked.returncode in (0, 5), checked.stdout
    if checked.returncode == 5:
        again = submit(slurm, dataset, small_model, "--workers", "2")
        slurm.wait(
            "end of the second array",
            lambda: set(slurm.states(again).values()) <= {"COMPLETED"},
        )
    assert engine("status", dataset, "--check").returncode == 0, said + logs(dataset)
    assert engine("verify", dataset).returncode == 0
    assert engine("auto", *options, "--out", tmp_path / "whole").returncode == 0
    assert content(dataset) == content(tmp_path / "whole")
    assert "was stopped, and goes on later" in said
    assert "try 2" in said


def test_what_slurm_refuses_is_said_in_its_words(
    slurm: Slurm, options: list[str], small_model: Path, tmp_path: Path
) -> None:
    dataset = tmp_path / "dataset"
    assert engine("auto", *options, "--out", dataset, "--prepare").returncode == 0
    line = ("submit", "slurm", dataset, "--workers", "2", *SMALL_JOB, "--partition", "nowhere")
    done = engine(*line, slurm=slurm)
    assert done.returncode == 1
    assert "sbatch refused:" in done.stderr and "invalid partition" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
