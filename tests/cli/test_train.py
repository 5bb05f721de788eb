"""`sa-engine train`, `evaluate` and `model` as a user runs them."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import safetensors.torch
import torch
from PIL import Image

from sa_engine.model.bundled import DEFAULT_MODEL
from sa_engine.model.checkpoint import read_card
from tests.cli.conftest import Run, environment
from tests.support.scene_datasets import write_scenes

SMALL = (
    *("--recipe", "scratch", "--image-size", "32", "--batch-images", "2"),
    *("--masks-per-image", "2", "--rounds", "2"),
)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scenes(tmp_path_factory.mktemp("sets") / "scenes", range(4))


def test_train_evaluate_show_convert(sa_engine: Run, scenes: Path, tmp_path: Path):
    trained = sa_engine(
        *("train", "sam", "--data", scenes, "--steps", "2", "--out", "small.safetensors"), *SMALL
    )
    assert trained.returncode == 0, trained.stderr
    assert trained.stderr == ""
    assert re.fullmatch(
        r"small\.safetensors: vit_t at 32 px, "
        r"training IoU 0\.\d{3} own, 0\.\d{3} best of 3\n",
        trained.stdout,
    )
    metrics = (tmp_path / "small.safetensors.run" / "metrics.jsonl").read_text()
    assert json.loads(metrics)["step"] == 2

    measured = sa_engine(
        *("evaluate", "points", scenes, "--checkpoint", "small.safetensors"),
        *("--points", "1,2", "--boxes", "--max-images", "2", "--out", "rows.parquet"),
    )
    assert measured.returncode == 0, measured.stderr
    lines = measured.stdout.splitlines()
    assert lines[0].split() == (
        "set prompt masks small small (oracle) region growing grabCut".split()
    )
    assert [" ".join(line.split()[:3]) for line in lines[1:4]] == [
        "scenes 1 point",
        "scenes 2 points",
        "scenes box " + lines[3].split()[2],
    ]
    assert "Predicted IoU of small after 1 point: Pearson" in measured.stdout
    again = sa_engine("evaluate", "table", "rows.parquet")
    assert again.stdout.splitlines()[:4] == lines[:4]
    rows = pq.read_table(tmp_path / "rows.parquet").to_pylist()
    assert {r["method"] for r in rows} == {"small", "region growing", "grabCut"}
    assert {r["image_id"] for r in rows} == {1, 3}

    shown = sa_engine("model", "show", "small.safetensors")
    assert shown.stdout.startswith("name                 small\nvariant              vit_t\n")
    assert "  scenes: 4 images, " in shown.stdout
    card = json.loads(sa_engine("model", "show", "small.safetensors", "--json").stdout)
    assert card["options"]["train.image_size"] == 32

    converted = sa_engine("model", "convert", "small.safetensors", "small.pth")
    assert converted.stdout.startswith("small.pth: vit_t at 32 px, ")
    assert "image_encoder.patch_embed.seq.0.c.weight" in torch.load(
        tmp_path / "small.pth", weights_only=True
    )
    assert sa_engine("model", "convert", "small.pth", "back.safetensors").returncode == 0
    assert read_card(tmp_path / "back.safetensors").variant == "vit_t"


def test_proposals(sa_engine: Run, scenes: Path, small_model: Path):
    found = sa_engine(
        *("evaluate", "proposals", scenes, "--checkpoint", small_model),
        *("--points-per-side", "4", "--max-images", "1"),
    )
    assert found.returncode == 0, found.stderr
    assert found.stdout.splitlines()[0].split() == "set objects of objects AR@100 AR@1000".split()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "nowhere"], "nowhere"),
        (["--synthetic", "0"], "no --data"),
        (["--synthetic", "1", "--weight", "coco=2"], "'coco', which is neither a set nor a stage"),
        (["--synthetic", "1", "--weight", "coco"], "'coco' is not NAME=NUMBER"),
        (["--synthetic", "1", "--rounds", "0"], "rounds is 0"),
        (["--synthetic", "1", "--init", "none.safetensors"], "none.safetensors"),
        (["--synthetic", "1", "--image-size", "33"], "33"),
        (["--synthetic", "1", "--batch-images", "3", "--micro-batch", "2"], "--micro-batch 1"),
    ],
)
def test_bad_input_is_one_clear_line(sa_engine: Run, arguments: list[str], message: str):
    done = sa_engine("train", "sam", "--out", "m.safetensors", *SMALL, *arguments)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert done.stderr.startswith("Error: ") and done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_convert_refuses_to_overwrite(sa_engine: Run, small_model: Path, tmp_path: Path):
    (tmp_path / "there.pth").write_bytes(b"precious")
    done = sa_engine("model", "convert", small_model, "there.pth")
    assert (done.returncode, (tmp_path / "there.pth").read_bytes()) == (2, b"precious")
    assert "give --force" in done.stderr
    odd = sa_engine("model", "convert", small_model, "model.onnx")
    assert odd.returncode == 2
    assert "the name of model.onnx must end in .safetensors or .pth" in odd.stderr


def test_list_names_what_is_bundled(sa_engine: Run):
    done = sa_engine("model", "list")
    assert done.returncode == 0
    assert DEFAULT_MODEL in done.stdout or "No model comes with this installation" in done.stdout


def test_masks_that_cover_everything_end_before_the_first_step(sa_engine: Run, tmp_path: Path):
    (tmp_path / "images").mkdir()
    Image.new("RGB", (320, 240)).save(tmp_path / "images" / "0.png")
    whole = [[0, 0, 320, 0, 320, 240, 0, 240]]
    content = {
        "images": [{"id": 0, "file_name": "0.png", "width": 320, "height": 240}],
        "categories": [{"id": 1, "name": "x"}],
        "annotations": [{"id": 1, "image_id": 0, "category_id": 1, "segmentation": whole}],
    }
    (tmp_path / "instances.json").write_text(json.dumps(content))
    assert sa_engine("import", "instances.json", "--out", "whole").returncode == 0
    trained = sa_engine("train", "sam", "--data", "whole", "--out", "w.safetensors", *SMALL)
    assert trained.returncode == 2
    assert trained.stderr.startswith("Error: whole has 1 masks on 1 images and none can be trained")
    assert "0 are under 16 pixels" in trained.stderr
    assert "1 cover over 0.9 of their image" in trained.stderr


def test_a_model_that_does_not_load_is_not_shown(sa_engine: Run, small_model: Path, tmp_path: Path):
    tensors = safetensors.torch.load_file(small_model)
    tensors["mask_decoder.iou_token.weight"][0, 0] = torch.nan
    torch.save(tensors, tmp_path / "nan.pth")
    for arguments in (
        ("model", "show", "nan.pth"),
        ("model", "average", "nan.pth", small_model, "--out", "mean.safetensors"),
    ):
        refused = sa_engine(*arguments)
        assert refused.returncode == 1
        assert "1 weights that are NaN or infinite" in refused.stderr
    assert not (tmp_path / "mean.safetensors").exists()


def test_a_pack_trains_as_its_datasets_do(sa_engine: Run, scenes: Path, tmp_path: Path):
    packed = sa_engine(
        *("train", "pack", scenes, "--image-size", "64", "--quality", "60"),
        *("--weight", "scenes=4", "--out", "train.pack"),
    )
    assert packed.returncode == 0, packed.stderr
    first, last = packed.stdout.splitlines()
    assert re.fullmatch(r"scenes: 4 images, \d+ masks", first)
    assert re.fullmatch(r"train\.pack: \d\.\d MiB", last)
    trained = sa_engine(
        *("train", "sam", "--data", "train.pack", "--steps", "1", "--synthetic", "0"),
        *("--out", "packed.safetensors", *SMALL),
    )
    assert trained.returncode == 0, trained.stderr
    card = read_card(tmp_path / "packed.safetensors")
    assert [line.split(",")[0] for line in card.data] == ["scenes: 4 images"]
    wrong = sa_engine("train", "pack", scenes, "--quality", "101", "--out", "x")
    assert wrong.returncode == 2
    assert wrong.stderr == "Error: quality is 101; give a value from 1 to 100\n"


def test_of_two_processes_one_speaks(scenes: Path, tmp_path: Path):
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    done = subprocess.run(
        [
            *(*launcher, "-m", "sa_engine", "train", "sam", "--data", str(scenes), "--steps", "2"),
            *("--device", "cpu", "--out", "shared.safetensors", "--batch-images", "4", *SMALL[:4]),
            *SMALL[6:],
        ],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    assert line.startswith("shared.safetensors: vit_t at 32 px, training IoU 0.")
