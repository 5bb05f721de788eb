"""Everything mode: this engine beside the published generator, same images, weights, and machine.

    python -m benchmarks.automask --images PHOTO [PHOTO ...]

Engines run in processes of their own and take turns on every image. Written beside this script:
`results/automask.json` (every measurement) and `results/automask.md` (medians and ratios).
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.automask_report import Row, report
from sa_engine.automask.config import resolve
from sa_engine.model.checkpoint import read_card
from sa_engine.model.device import choose_precision
from sa_engine.model.weights import bundled_model

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Engine:
    """Who is measured."""

    name: str
    kind: str
    precision: str = "fp32"


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


@contextmanager
def start(engine: Engine, *, variant: str, options: argparse.Namespace) -> Iterator[Worker]:
    """A worker for one engine."""
    command = [sys.executable, "-m", "benchmarks.automask_worker"]
    command += ["--engine", engine.kind, "--precision", engine.precision, "--variant", variant]
    command += ["--checkpoint", str(options.checkpoint.resolve()), "--device", options.device]
    command += ["--threads", str(options.threads)]
    if options.image_size:
        command += ["--image-size", str(options.image_size)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads)}
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=HERE.parent,
    ) as process:
        yield Worker(process)
        assert process.stdin
        process.stdin.close()


def side_by_side(options: argparse.Namespace, settings: dict[str, dict[str, Any]]) -> list[Row]:
    """Every engine on every image, in turn."""
    engines = [Engine("sa-engine fp32", "ours")]
    if options.bf16 or choose_precision("auto", torch.device(options.device)) == torch.bfloat16:
        engines.append(Engine("sa-engine bf16", "ours", "bf16"))
    if options.reference:
        engines.append(Engine("segment-anything 1.0", "reference"))
    if options.transformers:
        engines.append(Engine("transformers pipeline", "transformers"))
    rows: list[Row] = []
    for variant in options.variants:
        for setting, parameters in settings.items():
            present = [e for e in engines if e.kind != "transformers" or not _crops(parameters)]
            with ExitStack() as stack:
                workers = {
                    engine.name: stack.enter_context(
                        start(engine, variant=variant, options=options)
                    )
                    for engine in present
                }
                request = {"image": str(options.images[0].resolve()), "parameters": parameters}
                work = workers[engines[0].name].ask({**request, "work": True})
                here = {name: Row(name, variant, setting) for name in workers}
                here[engines[0].name].work = work
                rows += here.values()
                for image in options.images:
                    for _ in range(options.repeats):
                        for name, worker in workers.items():
                            request = {"image": str(image.resolve()), "parameters": parameters}
                            reply = worker.ask(request)
                            here[name].answers.append({**reply, "image": image.name})
                            print(
                                f"{variant} {setting} {image.name} {name}: "
                                f"{reply['seconds']:.1f} s, {len(reply['masks'])} masks, "
                                f"peak {reply['peak_gib']:.2f} GiB",
                                flush=True,
                            )
    return rows


def _crops(parameters: dict[str, Any]) -> bool:
    return bool(parameters["crop_n_layers"])


def memory(options: argparse.Namespace, parameters: dict[str, Any]) -> list[dict[str, Any]]:
    """Peak memory of this engine by image size, each in a fresh process."""
    found = []
    for height, width in options.memory_sizes:
        with start(Engine("sa-engine fp32", "ours"), variant="vit_t", options=options) as worker:
            reply = worker.ask(
                {
                    "image": str(options.images[0].resolve()),
                    "parameters": parameters,
                    "size_hw": [height, width],
                }
            )
        found.append({k: reply[k] for k in ("size_hw", "peak_gib", "seconds")})
        print(f"{width}x{height}: peak {reply['peak_gib']:.2f} GiB", flush=True)
    return found


def growth(options: argparse.Namespace, parameters: dict[str, Any]) -> dict[str, Any]:
    """Resident memory over many images in one process."""
    with start(Engine("sa-engine fp32", "ours"), variant="vit_t", options=options) as worker:
        reply = worker.ask(
            {
                "image": str(options.images[0].resolve()),
                "parameters": {**parameters, "points_per_side": 4},
                "size_hw": [512, 768],
                "flat": options.flat_images,
            }
        )
    resident = reply["resident_gib"]
    tenth = min(9, len(resident) - 1)
    return {"images": len(resident), "after_tenth_gib": resident[tenth], "last_gib": resident[-1]}


def matrix_rate(threads: int) -> float:
    """What the machine does at best in fp32: GFLOP/s of a large matrix product."""
    torch.set_num_threads(threads)
    a, b = torch.randn(2048, 2048), torch.randn(2048, 2048)
    best = float("inf")
    for _ in range(5):
        begin = time.perf_counter()
        a @ b
        best = min(best, time.perf_counter() - begin)
    return 2 * 2048**3 / best / 1e9


def machine(options: argparse.Namespace) -> dict[str, Any]:
    """Hardware, versions, commit, date."""
    cpu = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    commit = subprocess.run(
        ["git", "-C", str(HERE), "rev-parse", "--short", "HEAD"],
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "threads": options.threads,
        "gpu": gpu,
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "load_before": os.getloadavg()[0],
        "matrix_gflops_fp32": round(matrix_rate(options.threads), 1),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "commit": commit,
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }


def size(text: str) -> tuple[int, int]:
    """ "1500x2250" as (height, width)."""
    height, width = text.split("x")
    return int(height), int(width)


def main() -> None:
    """Measure, write, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, nargs="+", required=True)
    parser.add_argument("--checkpoint", type=Path, default=None, help="default: the bundled vit_t")
    parser.add_argument("--image-size", type=int, help="model input; default: the checkpoint's")
    parser.add_argument("--variants", nargs="+", default=["vit_t"])
    parser.add_argument("--settings", nargs="+", default=["default", "sa-1b"])
    parser.add_argument("--bf16", action="store_true", help="even where the CPU only emulates it")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--points-per-side", type=int, help="a smaller grid, for a trial run")
    parser.add_argument("--pred-iou-thresh", type=float, help="default: the model card's")
    parser.add_argument("--stability-score-thresh", type=float, help="default: the model card's")
    parser.add_argument("--no-reference", dest="reference", action="store_false")
    parser.add_argument("--transformers", action="store_true", help="also its pipeline")
    parser.add_argument("--memory-sizes", type=size, nargs="*", default=[], metavar="HxW")
    parser.add_argument("--flat-images", type=int, default=0)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "automask")
    options = parser.parse_args()
    options.checkpoint = options.checkpoint or bundled_model()

    given = {
        name: getattr(options, name)
        for name in ("points_per_side", "pred_iou_thresh", "stability_score_thresh")
        if getattr(options, name) is not None
    }
    card = read_card(options.checkpoint)
    advice = {
        "pred_iou_thresh": card.pred_iou_thresh,
        "stability_score_thresh": card.stability_score_thresh,
    }
    settings = {
        name: asdict(resolve(preset=name, recommended=advice, options=given))
        for name in options.settings
    }
    about = machine(options)
    rows = side_by_side(options, settings)
    largest = settings.get("sa-1b") or settings[options.settings[-1]]
    results = {
        "machine": about,
        "device": options.device,
        "model": f"{card.name}, input {options.image_size or card.image_size} px",
        "images": [image.name for image in options.images],
        "repeats": options.repeats,
        "settings": settings,
        "rows": [_without_masks(row) for row in rows],
        "memory": memory(options, largest),
        "growth": growth(options, settings[options.settings[0]]) if options.flat_images else None,
        "load_after": os.getloadavg()[0],
    }
    page = report(results, rows)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.with_suffix(".json").write_text(json.dumps(results, indent=1) + "\n")
    options.out.with_suffix(".md").write_text(page)
    print(page)


def _without_masks(row: Row) -> dict[str, Any]:
    plain = asdict(row)
    for answer in plain["answers"]:
        answer["masks"] = len(answer["masks"])
    return plain


if __name__ == "__main__":
    main()
