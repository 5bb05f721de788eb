"""A frozen worker that goes on after it was replaced harms nothing, wherever it was stopped.

`python -m benchmarks.split_brain` is the large matrix.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("scene", ["make", "retry"])
def test_stopped_before_every_write_and_replaced(tmp_path: Path, scene: str) -> None:
    # A process of its own: its workers are forked, and here are threads.
    command = ["-m", "benchmarks.split_brain", "--only", scene, "--scores", "0.8", "--pairs", "4"]
    done = subprocess.run(
        [sys.executable, *command, "--out", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "split_brain.json").read_text())
    assert found[scene]["operations"] == found[scene]["played"] > 40
    assert found["pairs"]["played"] == 4
