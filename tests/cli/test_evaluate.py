"""`sa-engine evaluate` as a user runs it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from sa_engine.cli.main import main
from sa_engine.model.card import ModelCard
from sa_engine.model.checkpoint import read_card, save_checkpoint
from sa_engine.model.variants import build_sam
from tests.support.scene_datasets import write_scenes

Run = Callable[..., tuple[int, str]]


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scenes(tmp_path_factory.mktemp("sets") / "scenes", range(2))


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "mine.safetensors"
    card = ModelCard(name="mine", variant="vit_t", image_size=32, results={"training_loss": 1.0})
    save_checkpoint(build_sam("vit_t", image_size=32), path, card)
    return path


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """A function that runs `sa-engine` in this process: its exit status and all it printed."""

    def run_here(*arguments: object) -> tuple[int, str]:
        with pytest.raises(SystemExit) as stopped:
            main([str(a) for a in arguments])
        printed = capsys.readouterr()
        return int(stopped.value.code or 0), printed.out + printed.err

    return run_here


def test_thresholds_are_written_to_the_card(run: Run, scenes: Path, weights: Path):
    code, output = run(
        "evaluate", "thresholds", scenes, "--checkpoint", weights, "--points-per-side", 3, "--write"
    )
    assert code == 0, output
    assert "recommended: pred_iou_thresh" in output
    card = read_card(weights)
    measured = card.results["thresholds"]
    assert measured["pred_iou_thresh"] == card.pred_iou_thresh
    assert (measured["sets"], measured["images"]) == (["scenes"], 2)
    assert card.results["training_loss"] == 1.0


def test_figures_are_recorded_in_the_card(run: Run, scenes: Path, weights: Path, tmp_path: Path):
    rows, base = tmp_path / "rows.parquet", tmp_path / "base.parquet"
    point = ("evaluate", "points", scenes, "--points", "1", "--boxes")
    assert run(*point, "--checkpoint", weights, "--method", "model", "--out", rows)[0] == 0
    assert run(*point, "--method", "region-growing", "--out", base)[0] == 0
    code, output = run("evaluate", "table", rows, base, "--record", weights)
    assert code == 0, output
    assert "region growing" in output
    figures = json.loads(read_card(weights).to_json())["results"]["mean_iou"]["scenes"]
    assert set(figures) == {"1 point", "box"}
    assert 0 <= figures["1 point"]["own"] <= figures["1 point"]["oracle"] <= 1


def test_what_cannot_be_written_is_said(run: Run, scenes: Path, weights: Path, tmp_path: Path):
    code, output = run("evaluate", "thresholds", scenes, "--write")
    assert code == 2
    assert "--write needs --checkpoint" in output
    rows = tmp_path / "rows.parquet"
    run("evaluate", "points", scenes, "--points", "1", "--method", "grabcut", "--out", rows)
    code, output = run("evaluate", "table", rows, "--record", weights)
    assert code == 2
    assert "no row is of a model named mine" in output


def test_instances_from_given_and_from_known_boxes(
    run: Run, scenes: Path, weights: Path, tmp_path: Path
) -> None:
    status, text = run("evaluate", "instances", scenes, "--checkpoint", weights)
    assert status == 0
    assert "boundary AP" in text
    file = tmp_path / "boxes.json"
    entry = {"image_id": 1, "category_id": 1, "bbox": [2, 2, 20, 20], "score": 0.7}
    file.write_text(json.dumps([entry]))
    out = tmp_path / "rows.csv"
    status, text = run(
        *("evaluate", "instances", scenes, "--checkpoint", weights),
        *("--boxes", file, "--out", out),
    )
    assert status == 0
    head = out.read_text().splitlines()[0].replace('"', "")
    assert head == "dataset,name,objects,ap,ap_50,ap_75,boundary_ap"
    file.write_text(json.dumps([{**entry, "image_id": 77}]))
    status, text = run("evaluate", "instances", scenes, "--checkpoint", weights, "--boxes", file)
    assert (status, text.count("\n")) == (2, 1)
    assert "no box for any image" in text


def test_points_by_group(run: Run, scenes: Path, weights: Path, tmp_path: Path) -> None:
    table = tmp_path / "groups.csv"
    table.write_text("image_id,camera\n1,old\n2,new\n99,new\n")
    arguments = ("evaluate", "points", scenes, "--checkpoint", weights, "--method", "model")
    status, text = run(*arguments, "--points", 1, "--max-masks", 2, "--groups", table)
    assert status == 0
    assert "old" in text and "one image" in text
    assert "no two groups differ" in text
    assert "1 rows are of nothing here: 99" in text
    table.write_text("image_id,camera\n98,old\n")
    status, text = run(*arguments, "--points", 1, "--max-masks", 2, "--groups", table)
    assert status == 2


def test_edges(run: Run, scenes: Path, weights: Path) -> None:
    pytest.importorskip("scipy")
    status, text = run(
        *("evaluate", "edges", scenes, "--checkpoint", weights),
        *("--grid", 2, "--thresholds", 3),
    )
    assert status == 0
    assert "ODS" in text
