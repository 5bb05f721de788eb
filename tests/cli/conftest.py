"""The command as users run it: a process of its own."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from sa_engine.model.card import ModelCard
from sa_engine.model.checkpoint import save_checkpoint
from sa_engine.model.variants import build_sam

ROOT = Path(__file__).resolve().parents[2]

Run = Callable[..., subprocess.CompletedProcess[str]]


def command_line(*arguments: str | Path) -> list[str]:
    """What to start for `sa-engine` with these arguments."""
    return [sys.executable, "-m", "sa_engine", *map(str, arguments)]


def environment() -> dict[str, str]:
    """As a user has it, with the checkout first on the path."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


@pytest.fixture
def sa_engine(tmp_path: Path) -> Run:
    """A function that runs `sa-engine` with arguments, in an empty folder."""

    def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command_line(*arguments),
            cwd=tmp_path,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=300,
        )

    return run


@pytest.fixture(scope="session")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A `vit_t` with random weights and an input of 128 px, whose thresholds let masks through."""
    torch.manual_seed(0)
    card = ModelCard(
        name="random",
        variant="vit_t",
        image_size=128,
        pred_iou_thresh=0.0,
        stability_score_thresh=0.0,
    )
    path = tmp_path_factory.mktemp("model") / "random.safetensors"
    save_checkpoint(build_sam("vit_t", image_size=128), path, card)
    return path
