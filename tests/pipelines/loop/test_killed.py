"""A loop that is killed ever again ends as one that never was."""

import os
import subprocess
import sys
from pathlib import Path

import torch

from sa_engine.pipelines.loop.reading import read_loop
from sa_engine.pipelines.loop.registry import Registry, read_registry
from sa_engine.pipelines.loop.rounds import run_loop
from tests.support.loop_sets import CONFIG, TRAIN, write_inputs

ROOT = Path(__file__).resolve().parents[3]


def accounts(registry: Registry) -> tuple[object, ...]:
    """A registry without the seconds that things took."""
    rounds = [{k: v for k, v in each.items() if k != "seconds"} for each in registry.rounds]
    return registry.models, registry.sets, rounds, registry.promoted


def test_a_killed_loop_ends_the_same(tmp_path: Path) -> None:
    path = write_inputs(tmp_path)
    start = CONFIG.index("[round.detector]")
    stage1 = CONFIG[:start]
    # No worker processes here: how those die is tested where they are.
    stage2 = f"""
[[round]]
name = "stage2"

[[round.gather]]
name = "more"
kind = "dataset"
data = "more"

[round.train]
{TRAIN}
"""
    path.write_text(stage1 + stage2)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        whole = run_loop(read_loop(path))
    finally:
        torch.set_num_threads(threads)
    done = subprocess.run(
        [sys.executable, "-m", "tests.pipelines.loop.killed_loop", path, tmp_path / "killed"],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )

    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 5
    assert whole.is_done
    assert accounts(read_registry(tmp_path / "killed")) == accounts(read_registry(tmp_path / "out"))
    names = {each.name for each in (tmp_path / "killed" / "steps").iterdir()}
    assert names == {each.name for each in (tmp_path / "out" / "steps").iterdir()}
