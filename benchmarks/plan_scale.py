"""Planning and resuming runs of up to 11 million images: seconds and peak memory.

    python -m benchmarks.plan_scale [--rows 1000 10000 ...] [--out benchmarks/results]

For each number of rows a text list of as many paths is generated, in random order. Then, each in a
process of its own so that its peak memory is its own:

* plan: read and sort the list, freeze it (inputs.parquet), write the manifest;
* resume: the same command again with half of the shards complete: read and sort the list, compare
  it with the frozen one, find the shards that are left;
* worker: open the manifest and the frozen list, find the shards that are left, read the sources of
  20 shards: what each of many workers does at its start.

Written beside this script: `results/plan_scale.json` and the plot `results/plan_scale.svg`.
"""

import argparse
import json
import os
import platform
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa

from benchmarks.provenance import commit, load_average, today
from sa_engine.dataset.folder.base import open_folder
from sa_engine.dataset.manifest import Manifest, open_output, read_manifest
from sa_engine.dataset.records import Stage
from sa_engine.dataset.shards.stats import stats_name
from sa_engine.dataset.shards.writer import pending_shards
from sa_engine.dataset.sources.frozen import FrozenInputs
from sa_engine.dataset.sources.listing import list_sources
from sa_engine.version import __version__

HERE = Path(__file__).resolve().parent
ROWS = (1_000, 10_000, 100_000, 1_000_000, 10_000_000, 11_000_000)
SHARDS_READ = 20
LIMIT_S, LIMIT_GIB = 60.0, 2.0


def generate(path: Path, rows: int) -> None:
    """A text list of `rows` paths of 46 bytes, in random order."""
    numbers = list(range(rows))
    random.Random(7).shuffle(numbers)
    with path.open("w", encoding="ascii") as file:
        for start in range(0, rows, 100_000):
            file.writelines(
                f"2024/{k % 12:02d}/{k % 28:02d}/camera-{k % 90:02d}/IMG_{k:012d}-edit.jpg\n"
                for k in numbers[start : start + 100_000]
            )


class Steps:
    """Seconds of each step of a task."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def time(self, name: str, task: Callable[[], Any]) -> Any:
        """Run and time."""
        started = time.perf_counter()
        result = task()
        self.seconds[name] = round(time.perf_counter() - started, 4)
        return result


def plan_for(sources: Any) -> Manifest:
    """What a run over these sources would ask for."""
    return Manifest(stage=Stage.AUTOMATIC, num_images=len(sources), options={"preset": "default"})


def plan(listing: Path, out: Path) -> dict[str, float]:
    """Begin a run."""
    steps = Steps()
    sources = steps.time("list", lambda: list_sources(listing))
    steps.time("freeze", lambda: open_output(out, plan_for(sources), sources))
    return steps.seconds


def resume(listing: Path, out: Path) -> dict[str, float]:
    """Begin it again."""
    steps = Steps()
    sources = steps.time("list", lambda: list_sources(listing))
    manifest = steps.time("check", lambda: open_output(out, plan_for(sources), sources))
    steps.time("pending", lambda: pending_shards(out, manifest))
    return steps.seconds


def worker(_: Path, out: Path) -> dict[str, float]:
    """Join it."""
    steps = Steps()
    folder = open_folder(out)
    manifest = steps.time("manifest", lambda: read_manifest(folder))
    pending = steps.time("pending", lambda: pending_shards(out, manifest))
    frozen = steps.time("open list", lambda: FrozenInputs(folder))
    chosen = random.Random(3).sample(pending, min(SHARDS_READ, len(pending)))

    def read() -> None:
        for index in chosen:
            assert all(source.uri for source in frozen.shard(index))

    steps.time(f"read {len(chosen)} shards", read)
    return steps.seconds


TASKS = {"plan": plan, "resume": resume, "worker": worker}


def run_task(task: str, listing: Path, out: Path) -> dict[str, Any]:
    """A task in a process of its own: its steps, wall time and peak memory."""
    command = [sys.executable, "-m", "benchmarks.plan_scale", "--task", task]
    command += ["--listing", str(listing), "--dataset", str(out)]
    done = subprocess.run(command, cwd=HERE.parent, check=True, stdout=subprocess.PIPE, text=True)
    return dict(json.loads(done.stdout))


def measure(rows: int, folder: Path) -> dict[str, Any]:
    """All tasks at one number of rows."""
    listing, out = folder / "images.txt", folder / "dataset"
    generate(listing, rows)
    result: dict[str, Any] = {"rows": rows, "list_mib": round(listing.stat().st_size / 2**20, 1)}
    result["plan"] = run_task("plan", listing, out)
    manifest = read_manifest(open_folder(out))
    for index in range(0, manifest.num_shards, 2):
        (out / stats_name(index)).touch()
    result["inputs_parquet_mib"] = round((out / "inputs.parquet").stat().st_size / 2**20, 2)
    result["resume"] = run_task("resume", listing, out)
    result["worker"] = run_task("worker", listing, out)
    return result


def plot(results: list[dict[str, Any]], path: Path) -> None:
    """Microseconds of CPU per image against rows, as a small SVG with logarithmic axes."""
    from benchmarks.loglog import Line, draw

    lines = [
        Line(task, [(r["rows"], r[task]["cpu_s"] / r["rows"] * 1e6) for r in results])
        for task in ("plan", "resume", "worker")
    ]
    path.write_text(draw(lines, x="images in the run", y="microseconds of CPU per image"), "utf-8")


def main() -> None:
    """Parse, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, nargs="+", default=ROWS)
    parser.add_argument("--out", type=Path, default=HERE / "results")
    parser.add_argument("--task", choices=TASKS, help=argparse.SUPPRESS)
    parser.add_argument("--listing", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--dataset", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.task:
        started = time.perf_counter()
        steps = TASKS[options.task](options.listing, options.dataset)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        wall, cpu = time.perf_counter() - started, time.process_time()
        took = {"wall_s": round(wall, 3), "cpu_s": round(cpu, 3), "peak_gib": round(peak, 3)}
        print(json.dumps({**took, "steps": steps}))
        return
    results = []
    load = load_average()
    for rows in options.rows:
        with tempfile.TemporaryDirectory() as folder:
            results.append(measure(rows, Path(folder)))
        print(json.dumps(results[-1]), flush=True)
    last = results[-1]

    def within(measure: str) -> bool:
        return all(
            last[task][measure] < LIMIT_S and last[task]["peak_gib"] < LIMIT_GIB for task in TASKS
        )

    report: dict[str, Any] = {
        "what": "planning and resuming a run, text list in random order, 1000 images per shard",
        "engine_version": __version__,
        "commit": commit(),
        "date": today(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Linux {platform.release()}",
        "python": platform.python_version(),
        "pyarrow": pa.__version__,
        "load_average": {"begin": load, "end": load_average()},
        "limits": {"seconds": LIMIT_S, "gib": LIMIT_GIB},
        "note": "wall_s is with whatever else ran on the machine (see the load), cpu_s is not",
        "within_limits_by_wall": within("wall_s"),
        "within_limits_by_cpu": within("cpu_s"),
        "results": results,
    }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "plan_scale.json").write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    plot(results, options.out / "plan_scale.svg")


if __name__ == "__main__":
    main()
