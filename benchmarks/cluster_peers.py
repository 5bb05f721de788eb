"""The same generator under other engines, killed the same way: python -m benchmarks.cluster_peers

Three ways to have two processes make masks of the same pictures with the same `MaskGenerator`:

    engine     `run_workers` of this project, on this machine
    ray-data   Ray Data: read_binary_files, map_batches with an actor each, write_parquet
    datatrove  its LocalPipelineExecutor: a step that lists a task's pictures, one that makes masks,
               JsonlWriter

What happens to each of them:

    nothing    for comparison
    process    a process that makes masks is killed once a third of the pictures are begun
    all        everything is killed then, and the same command is run again

Counted are pictures that the generator began (a line in a log each), and those in the output that
a reader finds afterwards: missing, and there twice. Needs `pip install 'ray[data]' datatrove
orjson`.
Written beside this script: results/cluster_peers.json and cluster_peers.md.
"""

import argparse
import contextlib
import gzip
import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.chaos import make_model
from benchmarks.provenance import commit, load_average, processor, today

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
WAYS = ("engine", "ray-data", "datatrove")
EVENTS = ("nothing", "process", "all")
LIMIT_S = 180.0
"""A command that has not ended by then counts as one that never does."""
POINTS_PER_SIDE = 12


@dataclass(frozen=True, slots=True)
class Place:
    """Where pictures, model and log of an attempt are, and where its output goes."""

    folder: Path

    @property
    def pictures(self) -> Path:
        return self.folder / "pictures"

    @property
    def log(self) -> Path:
        return self.folder / "log"

    @property
    def said(self) -> Path:
        return self.folder / "said"

    @property
    def out(self) -> Path:
        return self.folder / "out"

    def begun(self) -> list[tuple[int, str]]:
        """(process, picture) of each time that the generator was asked."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [(int(line.split()[0]), line.split()[1]) for line in lines]


class Maker:
    """Masks of one picture: what all three ways call."""

    def __init__(self, place: Place) -> None:
        import torch

        from sa_engine.automask.config import GeneratorConfig
        from sa_engine.automask.generator import MaskGenerator
        from sa_engine.model.checkpoint import load_checkpoint

        torch.set_num_threads(1)
        sam = load_checkpoint(place.folder / "model.safetensors")
        self._generator = MaskGenerator(sam, GeneratorConfig(points_per_side=POINTS_PER_SIDE))
        self._log = place.log

    def masks(self, name: str, rgb_HW3: Any) -> Sequence[Any]:
        """Of one picture; a line in the log before it."""
        with self._log.open("a") as file:
            file.write(f"{os.getpid()} {name}\n")
        return self._generator.generate(rgb_HW3)


# The three ways, each run in a process of its own: python -m benchmarks.cluster_peers --run WAY


@dataclass(frozen=True, slots=True)
class Masks:
    """How a worker of this project makes masks."""

    folder: Path

    def open(self, worker: int) -> Any:  # noqa: ARG002 - all alike
        maker = Maker(Place(self.folder))

        def annotate(source: Any, image: Any) -> Any:
            return maker.masks(Path(source.name).name, image.rgb_HW3)

        return annotate


def run_engine(place: Place) -> None:
    """Two workers of this machine, shards of eight images."""
    from sa_engine.dataset.folder.base import open_folder
    from sa_engine.dataset.manifest import Manifest, open_output
    from sa_engine.dataset.sources.listing import list_sources
    from sa_engine.pipelines.run.one_image import Reading
    from sa_engine.pipelines.run.start import run_workers
    from sa_engine.pipelines.run.workers import Workers

    sources = list_sources(str(place.pictures))
    manifest = Manifest(stage=None, num_images=len(sources), images_per_shard=8)
    open_output(place.out, manifest, sources)
    run_workers(
        open_folder(place.out),
        Masks(place.folder),
        reading=Reading(),
        workers=Workers(count=2),
        progress=None,
    )


def run_ray_data(place: Place) -> None:
    """Two actors with a processor each."""
    import ray
    import ray.data

    class Batches:
        def __init__(self) -> None:
            self.maker = Maker(place)

        def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
            name = Path(str(batch["path"][0])).name
            rgb = np.asarray(Image.open(io.BytesIO(batch["bytes"][0])).convert("RGB"))
            masks = [mask.segmentation.to_coco() for mask in self.maker.masks(name, rgb)]
            return {"name": [name], "masks": [json.dumps(masks)]}

    ray.init(num_cpus=4, _node_ip_address="127.0.0.1", include_dashboard=False)
    read = ray.data.read_binary_files(str(place.pictures), include_paths=True)
    made = read.map_batches(Batches, batch_size=1, concurrency=2, num_cpus=1)
    made.write_parquet(str(place.out))


def run_datatrove(place: Place) -> None:
    """Six tasks, two at a time, so that each has eight pictures."""
    from datatrove.data import Document
    from datatrove.executor.local import LocalPipelineExecutor
    from datatrove.pipeline.writers.jsonl import JsonlWriter

    def pictures(_data: Any, rank: int, world_size: int) -> Iterator[Any]:
        for path in sorted(place.pictures.iterdir())[rank::world_size]:
            yield Document(text="", id=path.name)

    def make(data: Any, rank: int, world_size: int) -> Iterator[Any]:  # noqa: ARG001 - its protocol
        maker = Maker(place)
        for each in data:
            rgb = np.asarray(Image.open(place.pictures / each.id).convert("RGB"))
            masks = [mask.segmentation.to_coco() for mask in maker.masks(each.id, rgb)]
            each.text = json.dumps(masks)
            yield each

    LocalPipelineExecutor(
        pipeline=[pictures, make, JsonlWriter(str(place.out))],
        tasks=6,
        workers=2,
        logging_dir=str(place.folder / "logs"),
    ).run()


RUNS = {"engine": run_engine, "ray-data": run_ray_data, "datatrove": run_datatrove}


def found_engine(out: Path) -> list[str]:
    """The pictures in the output, as the project's own reader has them."""
    from sa_engine.dataset.reader import Dataset

    dataset = Dataset(out, allow_incomplete=True)
    return [Path(record.source).name for record in dataset.images()]


def found_ray_data(out: Path) -> list[str]:
    """As pyarrow reads the folder."""
    import pyarrow.parquet as pq

    if not any(out.glob("*.parquet")):
        return []
    return [str(name) for name in pq.read_table(out, columns=["name"])["name"].to_pylist()]


def found_datatrove(out: Path) -> list[str]:
    """Line by line; of a file that was cut short those that can be read."""
    names: list[str] = []
    for path in sorted(out.glob("*.jsonl.gz")):
        with contextlib.suppress(EOFError, ValueError, gzip.BadGzipFile), gzip.open(path) as file:
            names += [json.loads(line)["id"] for line in file]
    return names


FOUND = {"engine": found_engine, "ray-data": found_ray_data, "datatrove": found_datatrove}


def attempt(way: str, event: str, count: int, model: Path) -> dict[str, Any]:
    """One way through one event."""
    with tempfile.TemporaryDirectory(prefix="peers") as name:
        place = Place(Path(name))
        write_pictures(place.pictures, count)
        (place.folder / "model.safetensors").symlink_to(model)
        began = time.monotonic()
        running = start(way, place)
        if event != "nothing":
            wait_until_begun(place, count // 3, running)
            if event == "process":
                os.kill(place.begun()[-1][0], signal.SIGKILL)
            else:
                end(running)
                running = start(way, place)
        ended = True
        try:
            status = running.wait(LIMIT_S)
        except subprocess.TimeoutExpired:
            ended, status = False, -1
        seconds = time.monotonic() - began
        end(running)
        if event == "nothing" and status:
            raise RuntimeError(f"undisturbed, {way} fails:\n{place.said.read_text()[-2000:]}")
        begun = [picture for _, picture in place.begun()]
        there = Counter(FOUND[way](place.out) if place.out.exists() else [])
        row = {
            "way": way,
            "event": event,
            "ended": ended,
            "status": status,
            "seconds": round(seconds, 1),
            "begun": len(begun),
            "begun_twice": len(begun) - len(set(begun)),
            "missing": count - len(there),
            "there_twice": sum(there.values()) - len(there),
        }
    print(row, flush=True)
    return row


def write_pictures(folder: Path, count: int) -> None:
    """Pictures of noise in blocks, each another."""
    folder.mkdir()
    for number in range(count):
        draw = np.random.default_rng(number)
        small = draw.integers(0, 255, (12, 16, 3), dtype=np.uint8)
        Image.fromarray(small.repeat(16, 0).repeat(16, 1)).save(folder / f"{number:04}.png")


def start(way: str, place: Place) -> "subprocess.Popen[bytes]":
    """The command, in a session of its own."""
    words = [sys.executable, "-m", "benchmarks.cluster_peers", "--run", way]
    said = place.said.open("ab")
    return subprocess.Popen(
        [*words, "--folder", str(place.folder)],
        cwd=HERE.parent,
        env={
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "RAY_USAGE_STATS_ENABLED": "0",
            "PYTHONPATH": str(HERE.parent),
        },
        start_new_session=True,
        stdout=said,
        stderr=said,
    )


def wait_until_begun(place: Place, wanted: int, running: "subprocess.Popen[bytes]") -> None:
    """Until so many pictures are begun. RuntimeError if the command ends before."""
    while len(place.begun()) < wanted:
        if running.poll() is not None:
            raise RuntimeError(f"the command ended too early:\n{place.said.read_text()[-2000:]}")
        time.sleep(0.02)


def end(running: "subprocess.Popen[bytes]") -> None:
    """Kill the command with all that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    # Ray's processes have sessions of their own.
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError):
            line = (entry / "cmdline").read_bytes()
            if any(part in line for part in (b"/ray/core/src", b"ray::", b"/ray/_private/")):
                os.kill(int(entry.name), signal.SIGKILL)


def markdown(result: dict[str, Any]) -> str:
    """The table."""
    count = result["pictures"]
    lines = [
        "# The same generator under other engines, killed the same way",
        "",
        f"`python -m benchmarks.cluster_peers`, {result['date']}, commit {result['commit']}, "
        f"{result['machine']}: {count} pictures, two processes, once each. "
        + ", ".join(f"{name} {found}" for name, found in result["versions"].items())
        + ".",
        "",
        "| | killed | ended by itself | pictures begun | of these again | missing at the end "
        "| there twice | seconds |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in result["rows"]:
        killed = {"nothing": "–", "process": "a process", "all": "all, then run again"}
        status = f", exit status {row['status']}" if row["status"] else ""
        ended = f"yes{status}" if row["ended"] else f"**no**, after {LIMIT_S:.0f} s"
        lines.append(
            f"| {row['way']} | {killed[row['event']]} | {ended} | {row['begun']} "
            f"| {row['begun_twice']} | {row['missing']} | {row['there_twice']} "
            f"| {row['seconds']:.0f} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run all, or one way as a command of its own."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pictures", type=int, default=48)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--run", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        RUNS[options.run](Place(options.folder))
        return
    with tempfile.TemporaryDirectory() as name:
        model = Path(name) / "model.safetensors"
        make_model(model)
        rows = [
            attempt(way, event, options.pictures, model) for way in options.ways for event in EVENTS
        ]
    result = {
        "pictures": options.pictures,
        "rows": rows,
        "versions": {each: version(each) for each in ("ray", "datatrove", "torch")},
        "commit": commit(),
        "date": today(),
        "machine": processor(),
        "load_average": load_average(),
    }
    options.results.mkdir(parents=True, exist_ok=True)
    text = json.dumps(result, indent=1) + "\n"
    (options.results / "cluster_peers.json").write_text(text, "utf-8")
    (options.results / "cluster_peers.md").write_text(markdown(result), "utf-8")


if __name__ == "__main__":
    main()
