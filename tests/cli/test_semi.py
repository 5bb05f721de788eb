"""The detector and stage 2 as a user runs them: train, evaluate, propose, mistakes."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from sa_engine.cli.main import main
from sa_engine.dataset.reader import Dataset
from sa_engine.detection.file import read_detector_card
from tests.support.scene_datasets import write_scenes

SMALL = ["--batch-images", "2", "--views", "1", "--channels", "8", "--head-layers", "1"]


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    return write_scenes(tmp_path / "scenes", range(2))


def test_train_evaluate_propose(
    scenes: Path, small_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*arguments: str | Path) -> str:
        with pytest.raises(SystemExit) as stopped:
            main([*map(str, arguments), "--checkpoint", str(small_model)])
        said = capsys.readouterr()
        assert (stopped.value.code, said.err) == (0, "")
        return said.out

    detector = tmp_path / "detector.safetensors"
    trained = run(
        "train", "detector", "--data", scenes, "--out", detector, "--steps", "2",
        "--name", "finder", *SMALL,
    )  # fmt: skip
    assert trained.startswith(f"{detector}: a detector for random (vit_t at 128 px, encoder ")
    card = read_detector_card(detector)
    assert (card.name, card.options["steps"], card.net["channels"]) == ("finder", 2, 8)
    with pytest.raises(SystemExit):
        main(["model", "show", str(detector)])
    shown = capsys.readouterr().out
    assert f"box detector of  random, image encoder {card.encoder_sha256}\n" in shown
    assert "  scenes: 2 images, " in shown

    rows = tmp_path / "rows.parquet"
    told = run("evaluate", "boxes", scenes, "--detector", detector, "--grid", "2", "--out", rows)
    header, *lines = told.splitlines()
    assert header.split() == [
        "set", "method", "size", "objects", "boxes", "AR@10", "AR@100", "AR@1000", "AP50"
    ]  # fmt: skip
    assert lines[0].split()[:3] == ["scenes", "detector", "all"]
    assert any("grid 2x2" in line for line in lines)
    masks = sum(len(record.annotations) for record in Dataset(scenes))
    assert pq.read_table(rows).num_rows == 2 * masks

    photograph = tmp_path / "photographs" / "one.png"
    photograph.parent.mkdir()
    dataset = Dataset(scenes)
    photograph.write_bytes(dataset.read_image_bytes(dataset[0]))
    out = tmp_path / "proposals"
    told = run(
        "semi", "--images", photograph.parent, "--detector", detector, "--out", out,
        "--box-score-thresh", "0", "--max-boxes", "5", "--box-fit-thresh", "0",
    )  # fmt: skip
    assert f"{out}: 1 image, " in told
    manifest = json.loads((out / "manifest.json").read_text())
    assert (manifest["stage"], manifest["options"]["max-boxes"]) == ("semi-automatic", 5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["semi", "--detector", "none.safetensors"], "there is no detector none.safetensors"),
        (["semi", "--detector", "d", "--model", "vit_x"], "unknown model 'vit_x'"),
        (["semi", "--detector", "d", "--max-boxes", "0"], "there is no detector d"),
        (["train", "detector"], "no --data; give a dataset with masks"),
        (["train", "detector", "--channels", "20"], "channels is 20; give a multiple of 8"),
        (["train", "detector", "--model", "a", "--checkpoint", "b"], "exclude each other"),
        (["train", "detector", "--data", "nowhere"], "nowhere is not a dataset"),
    ],
)
def test_a_users_mistake_is_one_line(
    arguments: list[str],
    message: str,
    small_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "images").mkdir()
    images = ["--images", "images"] if arguments[0] == "semi" else []
    if "--model" not in arguments:
        arguments = [*arguments, "--checkpoint", str(small_model)]
    with pytest.raises(SystemExit) as stopped:
        main([*arguments, *images, "--out", "out"])
    assert stopped.value.code == 2
    said = capsys.readouterr()
    assert said.err.startswith("Error: ") and said.err.count("\n") == 1
    assert message in said.err
    assert not (tmp_path / "out").exists()
