"""`sa-engine work`: whoever does it, and in how many pieces, the dataset is that of one run."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sa_engine.dataset.shards.claims import claim
from tests.cli.conftest import Run, command_line, environment
from tests.support.same_bytes import content

NUM_IMAGES = 6


@pytest.fixture(scope="module")
def options(small_model: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What `auto` is told but for --out: six pictures, three shards."""
    pictures = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(1)
    for number in range(NUM_IMAGES):
        coarse = random.integers(0, 256, (9, 12, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((120, 90)).save(pictures / f"{number}.png")
    return [
        *("--images", str(pictures), "--checkpoint", str(small_model), "--points-per-side", "4"),
        *("--images-per-shard", "2", "--precision", "fp32", "--device", "cpu"),
    ]


@pytest.fixture(scope="module")
def whole(options: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset as one run makes it."""
    out = tmp_path_factory.mktemp("whole") / "dataset"
    line = command_line("auto", *options, "--out", out)
    subprocess.run(line, env=environment(), check=True, capture_output=True, timeout=300)
    return out


def test_what_is_prepared_is_made_by_work_with_the_same_bytes(
    sa_engine: Run, options: list[str], whole: Path, small_model: Path, tmp_path: Path
) -> None:
    prepared = sa_engine("auto", *options, "--out", "dataset", "--prepare", "--json")
    assert prepared.returncode == 0, prepared.stderr
    assert json.loads(prepared.stdout) == {
        "out": "dataset",
        "images": NUM_IMAGES,
        "shards": 3,
        "shards_complete": 0,
    }
    out = tmp_path / "dataset"
    assert not list(out.glob("*.tar"))
    checked = sa_engine("status", "dataset", "--check")
    assert checked.returncode == 5 and "nobody is at work" in checked.stdout

    # Two at once, by other working folders, as on two machines.
    both = [
        subprocess.Popen(
            command_line("work", out, "--checkpoint", small_model, "--device", "cpu"),
            cwd=folder,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for folder in (tmp_path, tmp_path.parent)
    ]
    for each in both:
        _, said = each.communicate(timeout=300)
        assert each.returncode == 0, said
    assert content(out) == content(whole)
    assert sa_engine("status", "dataset", "--check").returncode == 0

    # Nothing is left to do: done at once, without the model's file, and without torch.
    again = sa_engine("work", "dataset", "--json")
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["done_before"] == NUM_IMAGES
    loaded = subprocess.run(
        [sys.executable, "-X", "importtime", *command_line("work", out)[1:]],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "sa_engine.dataset" in loaded.stderr
    assert "| torch\n" not in loaded.stderr


def test_work_that_is_stopped_by_its_time_is_continued(
    sa_engine: Run, options: list[str], whole: Path, small_model: Path, tmp_path: Path
) -> None:
    sa_engine("auto", *options, "--out", "dataset", "--prepare")
    words = ("work", "dataset", "--checkpoint", small_model)
    stopped = sa_engine(*words, "--max-seconds", "0.05")
    assert stopped.returncode == 130
    assert stopped.stderr.splitlines()[-1].startswith("Interrupted: ")
    assert sa_engine(*words).returncode == 0
    assert content(tmp_path / "dataset") == content(whole)


def test_work_that_does_not_wait_leaves_what_others_have_in_hand(
    sa_engine: Run, options: list[str], small_model: Path, tmp_path: Path
) -> None:
    sa_engine("auto", *options, "--out", "dataset", "--prepare")
    lease = claim(str(tmp_path / "dataset"), 1)
    assert lease is not None
    with lease:
        done = sa_engine("work", "dataset", "--checkpoint", small_model, "--no-wait")
        assert done.returncode == 0, done.stderr
        assert "1 shard of others not made yet" in done.stdout
        status = sa_engine("status", "dataset", "--check")
        assert status.returncode == 5
        # Somebody is at work, though there is no speed to tell yet.
        assert "1 worker has begun" in status.stdout and "nobody" not in status.stdout
    assert sa_engine("work", "dataset", "--checkpoint", small_model).returncode == 0
    assert sa_engine("status", "dataset", "--check").returncode == 0


def test_status_is_watched_until_the_dataset_is_complete(
    sa_engine: Run, options: list[str], small_model: Path, tmp_path: Path
) -> None:
    sa_engine("auto", *options, "--out", "dataset", "--prepare")
    with subprocess.Popen(
        command_line("status", "dataset", "--watch", "0.2", "--check"),
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as watcher:
        assert sa_engine("work", "dataset", "--checkpoint", small_model).returncode == 0
        said, noted = watcher.communicate(timeout=60)
    assert watcher.returncode == 0
    assert "0 of 6 images" in noted.splitlines()[0]
    assert said.startswith("dataset: 6 of 6 images, 3 of 3 shards complete")


def test_failed_images_fail_no_job_where_that_is_said(
    sa_engine: Run, options: list[str], small_model: Path, tmp_path: Path
) -> None:
    pictures = tmp_path / "pictures"
    shutil.copytree(options[1], pictures)
    (pictures / "3.png").write_bytes(b"no picture")
    words = [*options[2:], "--images", pictures, "--out", "dataset"]
    assert sa_engine("auto", *words, "--failed-images-ok", "0.1").returncode == 3  # 1 of 6
    assert sa_engine("auto", *words, "--failed-images-ok", "0.2").returncode == 0
    assert sa_engine("work", "dataset").returncode == 3
    tolerated = sa_engine("work", "dataset", "--failed-images-ok", "1")
    assert tolerated.returncode == 0
    assert "1 failed (1 not-an-image)" in tolerated.stdout
    assert sa_engine("status", "dataset", "--check").returncode == 3


def test_proposals_are_made_by_work_too(sa_engine: Run, options: list[str], tmp_path: Path) -> None:
    pictures = options[1]
    words = ("--images", pictures, "--limit", "2", "--precision", "fp32", "--images-per-shard", "1")
    existing = tmp_path / "existing"
    made = sa_engine("auto", *options, "--limit", "2", "--out", existing)
    assert made.returncode == 0, made.stderr
    beside = ("--existing", existing)
    assert sa_engine("semi", *words, *beside, "--out", "one").returncode == 0
    assert sa_engine("semi", *words, *beside, "--out", "two", "--prepare").returncode == 0
    missing = sa_engine("work", "two")
    assert missing.returncode == 2
    assert "give --existing as when it was begun" in missing.stderr
    done = sa_engine("work", "two", *beside)
    assert done.returncode == 0, done.stderr
    assert content(tmp_path / "two") == content(tmp_path / "one")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["work", "nothing"], "is not a dataset"),
        (["work", "dataset"], "does not come with this engine: give its file with --checkpoint"),
        (["work", "dataset", "--checkpoint", "other.safetensors"], "has SHA-256"),
        (["work", "dataset", "--max-seconds", "0"], "--max-seconds"),
        (["work", "dataset", "--failed-images-ok", "1.5"], "--failed-images-ok"),
    ],
)
def test_what_cannot_be_worked_on_is_said_in_one_line(
    sa_engine: Run, options: list[str], tmp_path: Path, words: list[str], said: str
) -> None:
    sa_engine("auto", *options, "--out", "dataset", "--prepare")
    (tmp_path / "other.safetensors").write_bytes(b"other")
    before = time.time()
    done = sa_engine(*words)
    assert done.returncode == 2
    assert said in done.stderr and "Traceback" not in done.stderr
    assert not [path for path in (tmp_path / "dataset").iterdir() if path.stat().st_mtime > before]


def test_a_dataset_of_imported_masks_is_none_to_work_on(sa_engine: Run, tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    Image.new("RGB", (8, 8)).save(pictures / "a.png")
    (tmp_path / "a.json").write_text(
        json.dumps(
            {
                "images": [{"id": 1, "file_name": "a.png", "width": 8, "height": 8}],
                "annotations": [
                    {
                        "id": 1,
                        "image_id": 1,
                        "category_id": 1,
                        "segmentation": [[1, 1, 5, 1, 5, 5, 1, 5]],
                    }
                ],
                "categories": [{"id": 1, "name": "thing"}],
            }
        )
    )
    done = sa_engine("import", "a.json", "--images", pictures, "--out", "dataset")
    assert done.returncode == 0, done.stderr
    # It is complete, so there is nothing to do.
    assert sa_engine("work", "dataset").returncode == 0
    (tmp_path / "dataset" / "sa_000000_stats.json").unlink()
    refused = sa_engine("work", "dataset")
    assert refused.returncode == 2
    assert "was not begun by `sa-engine auto` or `semi`" in refused.stderr
