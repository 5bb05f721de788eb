"""Damaged and strange image files through the commands that read images: each right or named.

    python -m benchmarks.rotten [--only COMMAND ...]

The corpus of `rotten_corpus` goes through each whole command, with two workers and a small model of
random weights. `auto`, `semi` and `import` (of a file that names every picture) must end with
status 3 (done, but some images failed), every file must be read right or have one of the reasons
that are allowed for it, no worker may have died, and `verify` must find no problems. `train align`
and `model compare` must end well with what can be read, and say how much cannot. None may hang or
end in a traceback. Written beside this script: `results/rotten.json`.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL

from benchmarks.chaos import make_model
from benchmarks.provenance import commit, today
from benchmarks.rotten_corpus import MAX_PIXELS, Item, build
from sa_engine.dataset.reader import Dataset
from sa_engine.dataset.records import ImageRecord, Stage
from sa_engine.dataset.verify import verify
from tests.support.scene_datasets import write_scenes

HERE = Path(__file__).resolve().parent
LONGEST_S = 3600


COMMANDS = {
    "auto": "auto {corpus} --out {out} {model} {grid} {storing}",
    "semi": "semi {corpus} --out {out} {model} --detector {detector} {storing}",
    "import": "import {coco} --images {corpus} --out {out} {storing}",
    "train align": "train align --images {corpus} --arch lite2 --image-size 64 --steps 3 "
    "--teacher {weights} --device cpu --out {out}.safetensors",
    "model compare": "model compare --images {corpus} --model {weights} {grid} --device cpu cpu "
    "--out {out}.json",
}
NOT_NAMED = re.compile(rb"[\\!\x80-\xff]")
"""What a COCO file cannot name, or names as another path: import says that it is not there."""

GROUPS = {
    "model": "--checkpoint {weights} --precision fp32 --device cpu",
    "grid": "--points-per-side 2",
    "storing": f"--max-pixels {MAX_PIXELS} --images-per-shard 100 --workers 2",
}


def run(line: str, places: dict[str, Path]) -> subprocess.CompletedProcess[str]:
    """A command; TimeoutExpired if it hangs."""
    groups = {name: words.format(**places) for name, words in GROUPS.items()}
    return subprocess.run(
        [sys.executable, "-m", "sa_engine", *line.format(**groups, **places).split()],
        env={**os.environ, "PYTHONPATH": str(HERE.parent), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=LONGEST_S,
    )


def make_detector(room: Path) -> None:
    """One of a single step, for the model that is there."""
    write_scenes(room / "scenes", range(3))
    line = "train detector --data {scenes} --checkpoint {weights} --steps 1 --batch-images 2 "
    places = {"scenes": room / "scenes", "weights": room / "model.safetensors"}
    places["detector"] = room / "detector.safetensors"
    done = run(line + "--device cpu --out {detector}", places)
    if done.returncode:
        raise RuntimeError(done.stderr)


def write_coco(names: Sequence[str], path: Path) -> None:
    """A COCO file that names pictures, with no mask on any of them."""
    images = [{"id": number, "file_name": name} for number, name in enumerate(names)]
    path.write_text(json.dumps({"images": images, "annotations": [], "categories": []}))


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


def look(out: Path, corpus: Path, items: Mapping[bytes, Item]) -> tuple[Counter[str], list[str]]:
    """(images by outcome, what is wrong) with a dataset of the corpus."""
    dataset, faults = Dataset(out), []
    left, outcomes = dict(items), Counter[str]()
    root = os.fsencode(corpus) + b"/"
    for record, source in zip(dataset, dataset.inputs().all(), strict=True):
        key = os.fsencode(source.uri).removeprefix(root)
        outcomes[(record.error or "ok").partition(":")[0]] += 1
        wrong = fault(dataset, record, left.pop(key))
        if wrong is not None:
            faults.append(f"{source.name}: {wrong}")
    is_import = dataset.manifest.stage is Stage.MANUAL
    faults += [
        f"{name!r} was not listed" for name in left if not (is_import and NOT_NAMED.search(name))
    ]
    return outcomes, faults + [str(problem) for problem in verify(out)]


def attempt(title: str, room: Path, items: Mapping[bytes, Item]) -> dict[str, Any]:
    """One command, and what came of it."""
    corpus, out = room / "corpus", room / title.replace(" ", "-")
    places = {"corpus": corpus, "out": out, "weights": room / "model.safetensors"}
    places |= {"detector": room / "detector.safetensors", "coco": room / "coco.json"}
    started = time.monotonic()
    done = run(COMMANDS[title], places)
    row: dict[str, Any] = {"seconds": round(time.monotonic() - started, 1), "faults": []}
    makes_dataset = (out / "manifest.json").is_file()
    if done.returncode not in ((3,) if makes_dataset else (0, 3)) or "Traceback" in done.stderr:
        row["faults"].append(f"exit status {done.returncode}: {done.stderr[-2000:]}")
    if makes_dataset:
        outcomes, faults = look(out, corpus, items)
        row["outcomes"] = dict(sorted(outcomes.items()))
        row["faults"] += faults
        row["passed_over"] = len(items) - sum(outcomes.values())
    return row


def main() -> None:
    """Build, run, compare, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", nargs="+", choices=COMMANDS, default=list(COMMANDS))
    parser.add_argument("--out", type=Path, default=HERE / "results")
    options = parser.parse_args()
    path = options.out / "rotten.json"
    rows: dict[str, Any] = {}
    if path.is_file():
        rows = json.loads(path.read_text()).get("commands", {})
    with tempfile.TemporaryDirectory() as name:
        room = Path(name)
        corpus = room / "corpus"
        corpus.mkdir()
        items = build(corpus)
        listed = {key: item for key, item in items.items() if "unlisted" not in item.allowed}
        make_model(room / "model.safetensors")
        make_detector(room)
        names = [os.fsdecode(key) for key in listed]
        write_coco(names, room / "coco.json")
        for title in options.only:
            rows[title] = attempt(title, room, listed)
            print(title, json.dumps(rows[title]), flush=True)
            report: dict[str, Any] = {
                "what": "damaged and strange files: each right, or one reason",
                "commit": commit(),
                "date": today(),
                "pillow": PIL.__version__,
                "files": len(items),
                "kinds": dict(sorted(Counter(item.kind for item in items.values()).items())),
                "commands": {each: rows[each] for each in COMMANDS if each in rows},
            }
            options.out.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    if any(row["faults"] for row in rows.values()):
        sys.exit(1)


if __name__ == "__main__":
    main()
