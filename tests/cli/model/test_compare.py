"""`sa-engine model compare` as a user runs it."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sa_engine.model.device import cpu_computes_bf16
from tests.cli.conftest import Run


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    random = np.random.default_rng(0)
    for name in ("a", "b"):
        coarse = random.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((80, 60)).save(folder / f"{name}.png")
    return folder


@pytest.mark.skipif(not cpu_computes_bf16(), reason="this processor has no bf16")
def test_two_precisions(sa_engine: Run, small_model: Path, pictures: Path, tmp_path: Path) -> None:
    done = sa_engine(
        *("model", "compare", "--images", pictures, "--model", small_model),
        *("--precision", "fp32", "bf16", "--device", "cpu", "cpu", "--points-per-side", "4"),
        *("--out", "parity.json", "--out", "parity.md"),
    )
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "parity.json").read_text())
    assert report["first"] == {"model": "random", "device": "cpu", "precision": "fp32"}
    assert report["second"] == {"model": "random", "device": "cpu", "precision": "bf16"}
    summary = report["summary"]
    assert summary["images"] == 2 and summary["masks_first"] > 0
    for image in report["images"]:
        pairs = image["matches"]
        assert all(pair["iou"] >= 0.9 for pair in pairs)
        assert image["masks_first"] == len(pairs) + len(image["only_first"])
        assert image["masks_second"] == len(pairs) + len(image["only_second"])
        lone = [*image["only_first"], *image["only_second"]]
        assert all(mask["area"] > 0 and mask["segmentation"]["counts"] for mask in lone)
    assert summary["matched"] == sum(len(image["matches"]) for image in report["images"])
    lines = done.stdout.splitlines()
    assert lines[0] == "A: random, fp32 on cpu" and lines[1] == "B: random, bf16 on cpu"
    assert [line.split()[0] for line in lines[4:8]] == ["image", "a.png", "b.png", "all"]
    assert (tmp_path / "parity.md").read_text().startswith("# Parity\n")


def test_a_run_twice_over_is_the_same(sa_engine: Run, small_model: Path, pictures: Path) -> None:
    (pictures / "c.jpg").write_bytes(b"no image")
    done = sa_engine(
        *("model", "compare", "--images", pictures, "--model", small_model),
        *("--precision", "fp32", "fp32", "--points-per-side", "3"),
    )
    assert done.returncode == 3, done.stderr
    (total,) = [line.split() for line in done.stdout.splitlines() if line.startswith("all")]
    _, order, masks_a, masks_b, matched, mean, least, only_a, only_b, change = total
    assert order == "same" and masks_a == masks_b == matched != "0"
    assert (mean, least, only_a, only_b, change) == ("1.0000", "1.0000", "0", "0", "0.0000")
    assert "B has 100.00 % of A's masks." in done.stdout
    assert "not read: c.jpg:" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--precision", "fp32", "int4"], "int4"),
        (["--model", "a", "--model", "b", "--model", "c"], "--model was given 3 times"),
        (["--out", "parity.txt"], "must end in .json or .md"),
        (["--match-iou", "0"], "match_iou is 0.0"),
        (["--device", "cpu", "tpu"], "'tpu' is not one of auto, cpu"),
    ],
)
def test_mistakes_are_said(
    sa_engine: Run, pictures: Path, small_model: Path, arguments: list[str], message: str
) -> None:
    if "--model" not in arguments:
        arguments = [*arguments, "--model", str(small_model)]
    done = sa_engine("model", "compare", "--images", pictures, *arguments)
    assert done.returncode == 2
    assert message in done.stderr and done.stdout == ""
