"""Libraries that could stand in place of our own code, measured.

    python -m benchmarks.libraries DIR

DIR holds ground truth of BSDS500, MATLAB files (`groundTruth/*.mat`). Medians of repeats in turns.
Written beside this script: results/libraries.json; what follows from it is in docs/libraries.md.
What is not installed is left out.
"""

import argparse
import importlib.metadata
import importlib.util
import io
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.provenance import commit, processor, today
from sa_engine.formats.codecs.matfile import parse
from sa_engine.model.variants import build_sam
from sa_engine.training.muon import MATRIX, Muon, is_matrix

RESULTS = Path(__file__).resolve().parent / "results" / "libraries.json"
REPEATS = 7


def in_turns(**ways: Callable[[], Any]) -> dict[str, float]:
    """Median milliseconds of each, one after the other, REPEATS times."""
    seen: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(REPEATS + 1):
        for name, way in ways.items():
            begun = time.perf_counter()
            way()
            seen[name].append(1e3 * (time.perf_counter() - begun))
    return {name: round(statistics.median(each[1:]), 2) for name, each in seen.items()}


def matlab(folder: Path) -> dict[str, Any]:
    """`scipy.io.loadmat` against our parser, on the same bytes; the same label images."""
    from scipy.io import loadmat

    files = [path.read_bytes() for path in sorted(folder.rglob("*.mat"))[:20]]

    def ours() -> list[Any]:
        return [parse(data)["groundTruth"] for data in files]

    def theirs() -> list[Any]:
        return [loadmat(io.BytesIO(data))["groundTruth"] for data in files]

    same = all(
        np.array_equal(a[0]["Segmentation"], b[0, 0]["Segmentation"][0, 0])
        for a, b in zip(ours(), theirs(), strict=True)
    )
    return {"files": len(files), "ms": in_turns(ours=ours, theirs=theirs), "same": same}


def muon() -> dict[str, Any]:
    """A step of `torch.optim.Muon` against ours on the bundled model's matrices."""
    torch.manual_seed(0)

    def matrices() -> list[nn.Parameter]:
        sam = build_sam("lite2", image_size=512)
        found = [each for each in sam.parameters() if is_matrix(each)]
        for each in found:
            each.grad = torch.randn_like(each)
        return found

    mine, others = matrices(), matrices()
    kernels = sum(each.dim() > 2 for each in mine)
    flat = [each for each in others if each.dim() == 2]
    own_flat = [each for each in mine if each.dim() == 2]
    options: dict[str, Any] = {"lr": 1e-3, "weight_decay": 0.05}
    ours = Muon([{"params": own_flat, MATRIX: True}], **options)
    theirs = torch.optim.Muon(flat, adjust_lr_fn="match_rms_adamw", **options)
    ms = in_turns(ours=ours.step, theirs=theirs.step)
    return {"matrices": len(mine), "of_these_convolutions": kernels, "ms": ms}


def imports(*names: str) -> dict[str, float]:
    """Milliseconds that a process takes longer to start, by library."""

    def starting(code: str) -> Callable[[], Any]:
        return lambda: subprocess.run([sys.executable, "-c", code], check=True)

    ways = {"nothing": starting("pass"), **{name: starting(f"import {name}") for name in names}}
    ms = in_turns(**ways)
    return {name: round(ms[name] - ms["nothing"], 1) for name in names}


def main() -> None:
    """Measure, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    known = ("scipy.io", "msgspec", "pydantic", "jinja2", "filelock", "graphlib", "torchvision")
    there = [name for name in known if importlib.util.find_spec(name.partition(".")[0])]
    found = {
        "commit": commit(),
        "date": today(),
        "machine": processor(),
        "versions": {
            name: importlib.metadata.version(name.partition(".")[0])
            for name in ("torch", *there)
            if name != "graphlib"
        },
        "matlab": matlab(options.folder),
        "muon": muon(),
        "import_ms": imports(*there),
    }
    options.out.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
