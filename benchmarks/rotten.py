"""Damaged and strange image files through `sa-engine auto`: no crash, no hang, each right or named.

    python -m benchmarks.rotten

The corpus of `rotten_corpus` goes through the whole command, with two workers and a small model of
random weights. The command must end with status 3 (done, but some images failed), every file must
be read right or have one of the reasons that are allowed for it, no worker may have died, and
`verify` must find no problems. Written beside this script: `results/rotten.json`.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import PIL

from benchmarks.chaos import make_model
from benchmarks.provenance import commit, today
from benchmarks.rotten_corpus import MAX_PIXELS, Item, build
from sa_engine.dataset.reader import Dataset
from sa_engine.dataset.records import ImageRecord
from sa_engine.dataset.verify import verify

HERE = Path(__file__).resolve().parent
LONGEST_S = 3600


def run(corpus: Path, out: Path, model: Path) -> subprocess.CompletedProcess[str]:
    """The command; TimeoutExpired if it hangs."""
    return subprocess.run(
        [
            sys.executable, "-m", "sa_engine", "auto", "--images", str(corpus), "--out", str(out),
            "--checkpoint", str(model), "--points-per-side", "2", "--precision", "fp32",
            "--device", "cpu", "--max-pixels", str(MAX_PIXELS), "--images-per-shard", "100",
            "--workers", "2",
        ],
        env={**os.environ, "PYTHONPATH": str(HERE.parent), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=LONGEST_S,
    )  # fmt: skip


def fault(dataset: Dataset, record: ImageRecord, item: Item) -> str | None:
    """What is wrong with an image of the dataset."""
    outcome = "ok" if record.error is None else record.error.partition(":")[0]
    if outcome not in item.allowed:
        return f"{record.error or 'read'}, allowed {sorted(item.allowed)}"
    if outcome != "ok":
        return None
    if item.size_hw not in (None, (record.height, record.width)):
        return f"{record.height} x {record.width}, not {item.size_hw}"
    if item.pixels is not None and not np.array_equal(dataset.read_rgb(record), item.pixels):
        return "other pixels"
    return None


def main() -> None:
    """Build, run, compare, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=HERE / "results")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        room = Path(name)
        corpus, out, model = room / "corpus", room / "dataset", room / "model.safetensors"
        corpus.mkdir()
        items = build(corpus)
        listed = {key: item for key, item in items.items() if "unlisted" not in item.allowed}
        make_model(model)
        started = time.monotonic()
        done = run(corpus, out, model)
        seconds = time.monotonic() - started
        faults: list[str] = []
        if done.returncode != 3 or "Traceback" in done.stderr:
            faults.append(f"exit status {done.returncode}: {done.stderr[-2000:]}")
        dataset = Dataset(out)
        root = os.fsencode(corpus) + b"/"
        sources = dataset.inputs().all()
        outcomes: Counter[str] = Counter()
        for record, source in zip(dataset, sources, strict=True):
            key = os.fsencode(source.uri).removeprefix(root)
            outcomes[(record.error or "ok").partition(":")[0]] += 1
            wrong = fault(dataset, record, listed.pop(key))
            if wrong is not None:
                faults.append(f"{source.name}: {wrong}")
        faults += [f"{name!r} was not listed" for name in listed]
        faults += [str(problem) for problem in verify(out)]
    report: dict[str, Any] = {
        "what": "damaged and strange files through `sa-engine auto`: each right, or one reason",
        "commit": commit(),
        "date": today(),
        "pillow": PIL.__version__,
        "files": len(items),
        "kinds": dict(sorted(Counter(item.kind for item in items.values()).items())),
        "outcomes": dict(sorted(outcomes.items())),
        "passed_over": len(items) - sum(outcomes.values()),
        "seconds": round(seconds, 1),
        "faults": faults,
    }
    print(json.dumps(report))
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "rotten.json").write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    if faults:
        sys.exit(1)


if __name__ == "__main__":
    main()
