"""Everything mode: this engine beside the published generator, same images, weights, and machine.

    python -m benchmarks.automask --images PHOTO [PHOTO ...]            # every part
    python -m benchmarks.automask --images PHOTO ... --part default     # one of them

Engines run in processes of their own and take turns on every image. Every single measurement is
kept (`--work`) as soon as it is made: the same command goes on where it stopped. A finished part is
written to `results/automask/<part>.json` beside this script, and `results/automask.md` is made anew
from all parts that there are. What the parts are: `automask_parts.py`, or `--list`.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.automask_parts import AT_1024, PARTS, PUBLISHED_SIZE, Engine, Part
from benchmarks.automask_report import agreement, report
from benchmarks.provenance import commit, processor
from sa_engine.automask.config import resolve
from sa_engine.model.checkpoint import read_card
from sa_engine.model.device import cpu_computes_bf16
from sa_engine.model.weights import bundled_model

HERE = Path(__file__).resolve().parent

Result = dict[str, Any]


class Worker:
    """A benchmark process that waits for requests."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.ask(None)

    def ask(self, request: dict[str, Any] | None) -> dict[str, Any]:
        """Send a request (None: wait for the process to be ready) and wait for its answer."""
        assert self._process.stdin and self._process.stdout
        if request is not None:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("a benchmark process ended early; its error is above")
        answer: dict[str, Any] = json.loads(line)
        return answer


class Bench:
    """What the parts share: options, images, and measurements that are kept."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.checkpoint: Path = (options.checkpoint or bundled_model()).resolve()
        self.card = read_card(self.checkpoint)

    @contextmanager
    def start(
        self, part: Part, engine: Engine, *, image_size: int | None = None
    ) -> Iterator[Worker]:
        """A worker for one engine."""
        threads = str(self.options.threads)
        command = [sys.executable, "-m", "benchmarks.automask_worker"]
        command += ["--engine", engine.kind, "--precision", engine.precision]
        command += ["--variant", part.variant, "--device", part.device, "--threads", threads]
        command += ["--checkpoint", str(self.checkpoint)]
        size = image_size or part.image_size
        if size:
            command += ["--image-size", str(size)]
        with subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": threads},
            cwd=HERE.parent,
        ) as process:
            yield Worker(process)
            assert process.stdin
            process.stdin.close()

    def images(self, part: Part) -> list[Path]:
        """The part's images."""
        chosen: list[Path] = self.options.images[: part.images]
        return [image.resolve() for image in chosen]

    def parameters(self, part: Part, image_size: int | None = None) -> dict[str, Any]:
        """All of the generator's parameters.

        image_size: of one of several measurements of the part.
        """
        advice = {
            "pred_iou_thresh": self.card.pred_iou_thresh,
            "stability_score_thresh": self.card.stability_score_thresh,
            "mask_nms_thresh": 1.0,  # a step that the published generator does not have
        }
        given = {**part.parameters, **(AT_1024 if image_size == PUBLISHED_SIZE else {})}
        if self.options.points_per_side:
            given["points_per_side"] = self.options.points_per_side
        return asdict(resolve(preset=part.preset, recommended=advice, options=given))

    def kept(self, part: Part, name: str, measure: Callable[[], Result]) -> Result:
        """A measurement from an earlier run, or made now and kept."""
        path: Path = self.options.work / part.name / f"{name.replace(' ', '_')}.json"
        if path.exists():
            kept: Result = json.loads(path.read_text())
            return kept
        result = measure()
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".part")
        partial.write_text(json.dumps(result) + "\n")
        partial.replace(path)
        seconds = f"{result['seconds']:.1f} s, " if "seconds" in result else ""
        masks = f"{len(result['masks'])} masks, " if "masks" in result else ""
        print(f"{part.name}: {name}: {seconds}{masks}peak {result['peak_gib']:.2f} GiB", flush=True)
        return result


def side_by_side(bench: Bench, part: Part) -> Result:
    """Every engine on every image, in turn."""
    parameters = bench.parameters(part)
    rows: dict[str, list[Result]] = {engine.name: [] for engine in part.engines}
    with ExitStack() as stack:
        workers: dict[str, Worker] = {}

        def ask(engine: Engine, request: Result) -> Result:
            if engine.name not in workers:
                workers[engine.name] = stack.enter_context(bench.start(part, engine))
            return workers[engine.name].ask(request)

        for number in range(bench.options.repeats):
            for image in bench.images(part):
                request = {"image": str(image), "parameters": parameters}
                for engine in part.engines:
                    name = f"{engine.name} {image.name} {number}"
                    answer = bench.kept(part, name, partial(ask, engine, request))
                    rows[engine.name].append({**answer, "image": image.name})
        first = bench.images(part)[0]
        counted = {"image": str(first), "parameters": parameters, "work": True}
        work = bench.kept(part, "work", partial(ask, part.engines[0], counted))
    witness = rows[part.engines[-1].name]
    result = {
        "parameters": parameters,
        "work": work,
        "rows": [
            {
                "engine": engine.name,
                "agreement": None
                if engine is part.engines[-1]
                else agreement(rows[engine.name], witness),
                "answers": [_without_masks(answer) for answer in rows[engine.name]],
            }
            for engine in part.engines
        ],
    }
    if part.device == "cuda":
        with bench.start(part, part.engines[0]) as worker:
            rate = bench.kept(part, "matrix rate", lambda: worker.ask({"matrix_rate": True}))
        result["device"] = rate
    return result


def memory(bench: Bench, part: Part) -> Result:
    """Peak memory of this engine by image size, each in a fresh process."""
    rows = []
    for height, width in part.more["sizes_hw"]:
        request = {
            "image": str(bench.images(part)[0]),
            "parameters": bench.parameters(part),
            "size_hw": [height, width],
        }

        def measure(request: Result = request) -> Result:
            with bench.start(part, part.engines[0]) as worker:
                return worker.ask(request)

        rows.append(_without_masks(bench.kept(part, f"{width}x{height}", measure)))
    return {"rows": rows}


def flat(bench: Bench, part: Part) -> Result:
    """Resident memory over many images in one process."""
    request = {
        "image": str(bench.images(part)[0]),
        "parameters": bench.parameters(part),
        "size_hw": part.more["size_hw"],
        "flat": bench.options.flat_images or part.more["images"],
    }

    def measure() -> Result:
        with bench.start(part, part.engines[0]) as worker:
            return worker.ask(request)

    return bench.kept(part, "resident", measure)


def overhead(bench: Bench, part: Part) -> Result:
    """Whole runs over a folder of images beside the bare generator on the decoded images."""
    rows = []
    for size in part.more["sizes"]:
        request = {
            "overhead": [str(image) for image in bench.images(part)],
            "parameters": bench.parameters(part, size),
            "repeats": part.more["repeats"],
        }

        def measure(request: Result = request, size: int | None = size) -> Result:
            with bench.start(part, part.engines[0], image_size=size) as worker:
                return worker.ask(request)

        side = size or bench.card.image_size
        rows.append({"image_size": side, **bench.kept(part, f"{side} px", measure)})
    return {"rows": rows}


def profile(bench: Bench, part: Part) -> Result:
    """Time by operator."""
    rows = []
    for size in part.more["sizes"]:
        request = {
            "image": str(bench.images(part)[0]),
            "parameters": bench.parameters(part, size),
            "profile": True,
        }

        def measure(request: Result = request, size: int | None = size) -> Result:
            with bench.start(part, part.engines[0], image_size=size) as worker:
                return worker.ask(request)

        side = size or bench.card.image_size
        rows.append({"image_size": side, **bench.kept(part, f"{side} px", measure)})
    return {"rows": rows}


DOES: dict[str, Callable[[Bench, Part], Result]] = {
    "side_by_side": side_by_side,
    "memory": memory,
    "flat": flat,
    "overhead": overhead,
    "profile": profile,
}


def matrix_rate(threads: int) -> float:
    """What the machine does at best in fp32: GFLOP/s of a large matrix product."""
    torch.set_num_threads(threads)
    a, b = torch.randn(2048, 2048), torch.randn(2048, 2048)
    return 2 * 2048**3 / _best(lambda: a @ b) / 1e9


def copy_rate(threads: int) -> float:
    """GB/s that the machine reads and writes at best: a copy of 256 MiB."""
    torch.set_num_threads(threads)
    a = torch.ones(2**26)
    b = torch.zeros(2**26)
    return 2 * a.nbytes / _best(lambda: b.copy_(a)) / 1e9


def _best(act: Callable[[], Any]) -> float:
    best = float("inf")
    for _ in range(5):
        begin = time.perf_counter()
        act()
        best = min(best, time.perf_counter() - begin)
    return best


def machine(threads: int) -> Result:
    """Hardware, versions, commit, date."""
    return {
        "cpu": processor(),
        "cores": os.cpu_count(),
        "threads": threads,
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "load_before": round(os.getloadavg()[0], 1),
        "matrix_gflops_fp32": round(matrix_rate(threads), 1),
        "copy_gb_s": round(copy_rate(threads), 1),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "commit": commit(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }


def possible(part: Part) -> bool:
    """Whether this machine has what the part needs."""
    if part.needs == "bf16":
        return cpu_computes_bf16()
    return part.needs != "cuda" or torch.cuda.is_available()


def main() -> None:
    """Measure, write, print."""
    names = [part.name for part in PARTS]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, nargs="+", help="photographs, two at least")
    parser.add_argument("--part", nargs="+", choices=names, help="default: all that are possible")
    parser.add_argument("--list", action="store_true", help="say what the parts are, and stop")
    parser.add_argument("--again", action="store_true", help="measure anew what was measured")
    parser.add_argument("--checkpoint", type=Path, help="default: the bundled model")
    parser.add_argument("--repeats", type=int, default=1, help="of each image, side by side")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--points-per-side", type=int, help="a smaller grid, for a trial run")
    parser.add_argument("--flat-images", type=int, help="fewer images, for a trial run")
    parser.add_argument("--work", type=Path, default=HERE.parent / "out" / "automask-benchmark")
    parser.add_argument("--out", type=Path, default=HERE / "results")
    options = parser.parse_args()
    if options.list:
        for part in PARTS:
            print(f"{part.name:16} about {part.minutes:g} min: {part.title}")
        return
    if not options.images:
        parser.error("give photographs with --images")
    bench = Bench(options)
    folder: Path = options.out / "automask"
    folder.mkdir(parents=True, exist_ok=True)
    for part in PARTS:
        if not possible(part) or part.name not in (options.part or names):
            continue
        target = folder / f"{part.name}.json"
        if options.again:
            for path in (options.work / part.name).glob("*.json"):
                path.unlink()
        elif target.exists() and not options.part:
            continue
        about = machine(options.threads)
        result = DOES[part.does](bench, part)
        about["load_after"] = round(os.getloadavg()[0], 1)
        page = {
            "title": part.title,
            "does": part.does,
            "machine": about,
            "model": f"{bench.card.name}, {bench.card.image_size} px",
            "images": [image.name for image in bench.images(part)],
            **result,
        }
        target.write_text(json.dumps(page, indent=1) + "\n")
    parts = {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}
    text = report(parts)
    (options.out / "automask.md").write_text(text)
    print(text)


def _without_masks(answer: Result) -> Result:
    return {**answer, "masks": len(answer["masks"])}


if __name__ == "__main__":
    main()
