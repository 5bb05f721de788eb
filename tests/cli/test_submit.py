"""`sa-engine submit`: scripts, and what cannot be handed over; a real Slurm is in tests/engines."""

import subprocess
from pathlib import Path

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml

from sa_engine.pipelines.executors.job import ClusterJob
from sa_engine.pipelines.executors.kubernetes import KubernetesOptions, kubernetes_job
from sa_engine.pipelines.executors.slurm import array_sizes
from tests.cli.conftest import Run

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def prepared(sa_engine: Run, tmp_path: Path) -> Path:
    """A dataset of six images in three shards, begun and not made."""
    words = ("--images", ROOT / "examples" / "images", "--images-per-shard", "2", "--prepare")
    done = sa_engine("auto", *words, "--out", "dataset")
    assert done.returncode == 0, done.stderr
    return tmp_path / "dataset"


def test_the_script_of_the_examples_is_what_submit_prints(
    sa_engine: Run, prepared: Path, tmp_path: Path
) -> None:
    done = sa_engine(
        *("submit", "slurm", prepared, "--workers", "3", "--time", "4:00:00", "--dry-run"),
        *("--setup", "source /venvs/sa-engine/bin/activate", "--failed-images-ok", "0.01"),
    )
    assert done.returncode == 0, done.stderr
    example = (ROOT / "examples" / "cluster" / "slurm_array.sh").read_text()
    assert done.stdout.replace(str(prepared), "/data/dataset") == example
    assert not (tmp_path / "dataset.slurm").exists()
    assert subprocess.run(["bash", "-n"], input=done.stdout, text=True, check=False).returncode == 0


def test_options_of_the_cluster_go_into_the_script(sa_engine: Run, prepared: Path) -> None:
    done = sa_engine(
        *(
            "submit",
            "slurm",
            prepared,
            "--workers",
            "16",
            "--gpus",
            "0",
            "--cpus",
            "2",
            "--dry-run",
        ),
        *("--memory", "8G", "--partition", "spot", "--sbatch", "account=vision"),
        *("--sbatch", "signal=USR1@300", "--sbatch", "exclusive", "--name", "My run/of 5%"),
        *("--checkpoint", "model.safetensors", "--retry-failed"),
    )
    assert done.returncode == 0, done.stderr
    # No more workers than shards.
    assert "3 of 16 workers are asked for" in done.stderr
    assert "sbatch --array=0-2 " in done.stdout
    lines = [line for line in done.stdout.splitlines() if line.startswith("#SBATCH")]
    assert "#SBATCH --job-name=sa-of-5" in lines
    for line in ("cpus-per-task=2", "mem=8G", "partition=spot", "account=vision", "exclusive"):
        assert f"#SBATCH --{line}" in lines
    assert [line for line in lines if "signal" in line] == ["#SBATCH --signal=USR1@300"]
    assert not [line for line in lines if "gres" in line]
    (work,) = [line for line in done.stdout.splitlines() if line.startswith("srun ")]
    model = prepared.parent / "model.safetensors"
    assert work.endswith(f" work {prepared} --no-wait --checkpoint {model} --retry-failed")
    assert "-m sa_engine" in work  # the very Python that wrote it


def test_the_kubernetes_job_of_the_examples_is_what_submit_prints(sa_engine: Run) -> None:
    done = sa_engine(
        *("submit", "kubernetes", "/data/dataset", "--claim", "data", "--workers", "8"),
        *("--image", "registry.example/sa-engine:latest", "--dry-run"),
    )
    assert done.returncode == 0, done.stderr
    example = (ROOT / "examples" / "cluster" / "kubernetes_job.yaml").read_text()
    comments = [line for line in example.splitlines() if line.startswith("#")]
    assert example == "\n".join(comments) + "\n" + done.stdout
    job = yaml.safe_load(done.stdout)
    assert job["spec"]["parallelism"] == job["spec"]["completions"] == 8
    (container,) = job["spec"]["template"]["spec"]["containers"]
    # Images that fail would fail the job ten times over.
    assert container["command"][-2:] == ["--failed-images-ok", "1"]
    rules = {rule["action"]: rule for rule in job["spec"]["podFailurePolicy"]["rules"]}
    assert rules["FailJob"]["onExitCodes"]["values"] == [2]
    assert rules["Ignore"]["onPodConditions"] == [{"type": "DisruptionTarget", "status": "True"}]


@pytest.mark.parametrize("version", ["1.29", "1.33"])
@pytest.mark.parametrize(
    "words",
    [
        ("/data/dataset", "--claim", "data", "--gpus", "0", "--namespace", "vision"),
        ("/data/dataset", "--claim", "data", "--checkpoint", "/data/vit_h.pth"),
    ],
)
def test_the_kubernetes_job_fits_the_published_schema(
    sa_engine: Run, version: str, words: tuple[str, ...]
) -> None:
    done = sa_engine("submit", "kubernetes", *words, "--image", "sa-engine:1", "--workers", "5")
    assert done.returncode == 0, done.stderr
    kubernetes_validate.validate(yaml.safe_load(done.stdout), version, strict=True)


def test_a_job_on_an_object_store_has_a_disk_of_its_own() -> None:
    job = ClusterJob(out="s3://bucket/dataset", name="sa-dataset", workers=2, memory="8Gi")
    manifest = kubernetes_job(job, KubernetesOptions(image="sa-engine:1", scratch="9Gi"))
    kubernetes_validate.validate(manifest, "1.33", strict=True)
    (container,) = manifest["spec"]["template"]["spec"]["containers"]
    assert container["env"] == [{"name": "SA_ENGINE_CACHE", "value": "/scratch"}]
    assert container["resources"]["requests"]["ephemeral-storage"] == "9Gi"


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["slurm", "nothing", "--workers", "2"], 2, "is not a dataset"),
        (["slurm", "dataset", "--workers", "0"], 2, "--workers"),
        (["slurm", "dataset"], 2, "--workers"),
        (["slurm", "dataset", "--workers", "2", "--sbatch", "--x"], 2, "no NAME=VALUE"),
        (
            ["slurm", "dataset", "--workers", "2", "--sbatch", "array=0-9"],
            2,
            "--sbatch array is said by `submit` itself",
        ),
        (["kubernetes", "dataset", "--workers", "2", "--image", "i"], 2, "--claim"),
        (["kubernetes", "dataset", "--workers", "2", "--claim", "c"], 2, "--image"),
        (["slrum"], 2, "slurm"),
    ],
)
def test_what_cannot_be_submitted_is_said_in_one_line(
    sa_engine: Run, prepared: Path, tmp_path: Path, words: list[str], status: int, said: str
) -> None:
    assert prepared.is_dir()
    dry = ["--dry-run"] if words[0] == "slurm" else []
    done = sa_engine("submit", *words, *dry)
    assert done.returncode == status
    assert said in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "dataset.slurm").exists()


def test_a_complete_dataset_is_submitted_for_its_failures_alone(
    sa_engine: Run, tmp_path: Path
) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_bytes(b"no picture")
    assert sa_engine("auto", "photos", "--out", "dataset").returncode == 3
    words = ("submit", "slurm", "dataset", "--workers", "1", "--dry-run")
    complete = sa_engine(*words)
    assert complete.returncode == 2
    assert "dataset is complete: all 1 shards are made" in complete.stderr
    again = sa_engine(*words, "--retry-failed")
    assert again.returncode == 0, again.stderr
    assert "--no-wait --retry-failed\n" in again.stdout


def test_without_slurm_the_script_is_offered(
    sa_engine: Run, prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    done = sa_engine("submit", "slurm", prepared, "--workers", "2")
    assert done.returncode == 2
    assert "sbatch is not to be found" in done.stderr and "--dry-run" in done.stderr
    assert not (tmp_path / "dataset.slurm").exists()


@pytest.mark.parametrize(
    ("workers", "largest", "sizes"),
    [(16, 1000, [16]), (1000, 1000, [1000]), (2500, 1000, [1000, 1000, 500])],
)
def test_more_workers_than_an_array_may_have_are_several(
    workers: int, largest: int, sizes: list[int]
) -> None:
    assert array_sizes(workers, largest) == sizes
