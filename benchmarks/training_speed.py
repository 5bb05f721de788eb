"""How fast `train sam` is on a device: images a second by batch size, and where the time goes.

    python benchmarks/training_speed.py PACK... --init start.safetensors --device cuda \\
        --batch-images 32,64 --seconds 12 --data-workers 15 --profile

Each setting trains for real, from `--init`, for some seconds after a warm-up of some steps; nothing
is kept. Besides the rate it says how long the process waited for samples, the largest memory, and,
on a GPU, how often a step made it wait for the device. `--profile` lists the operators of a step.
"""

import argparse
import json
import platform
import tempfile
import time
import warnings
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import torch

from sa_engine.model.checkpoint import read_card
from sa_engine.training.data.mixture import Mixture
from sa_engine.training.data.samples import PromptConfig
from sa_engine.training.sam.config import TrainConfig
from sa_engine.training.sam.recipes import pretrained
from sa_engine.training.sam.report import StepReport
from sa_engine.training.sam.session import TrainRequest, load_start, open_data
from sa_engine.training.sam.task import SamTrainer


def main() -> None:
    options = _options()
    base = pretrained()
    card = read_card(options.init)
    train = replace(
        base.train,
        variant=card.variant,
        image_size=options.image_size or card.image_size,
        steps=10**9,
        precision=options.precision,
        freeze_stages=0,
        prompts=PromptConfig(
            masks_per_image=options.masks_per_image, box_probability=0.2, centre_probability=0.5
        ),
        rounds=replace(base.train.rounds, rounds=options.rounds, inner_probability=0.5),
    )
    recipe = replace(base, train=train, synthetic=options.synthetic)
    request = TrainRequest(data=options.data, out=Path("none"), recipe=recipe, init=options.init)
    start = time.monotonic()
    data = open_data(request)
    print(f"data opened in {time.monotonic() - start:.1f} s", flush=True)
    device = torch.device(options.device)
    print(_machine(device), flush=True)
    for compiled in (False, True) if options.compile else (False,):
        for batch_images in map(int, options.batch_images.split(",")):
            config = replace(train, batch_images=batch_images, compile_model=compiled)
            sam = load_start(replace(request, recipe=replace(recipe, train=config)))
            with tempfile.TemporaryDirectory() as folder:
                trainer = SamTrainer(
                    sam,
                    Mixture(data.sources, data.weights, seed=0),
                    config=config,
                    folder=Path(folder),
                    device=device,
                    data_workers=options.data_workers,
                )
                _measure(trainer, config, options, device)
            del trainer, sam


class _Enough(Exception):  # noqa: N818 - not an error
    pass


def _measure(
    trainer: SamTrainer, config: TrainConfig, options: argparse.Namespace, device: torch.device
) -> None:
    """Train for some seconds; print the rate after the warm-up."""
    reports: list[tuple[float, StepReport]] = []
    begun = time.monotonic()

    def report(made: StepReport) -> None:
        reports.append((time.monotonic(), made))
        if made.step == options.warmup and device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        if made.step > options.warmup and time.monotonic() - warm() >= options.seconds:
            raise _Enough

    def warm() -> float:
        return next(at for at, made in reports if made.step >= options.warmup)

    with suppress(_Enough):
        trainer.run(report=report, report_every=options.report_every, checkpoint_seconds=1e9)
    timed = [(at, made) for at, made in reports if made.step >= options.warmup]
    (first_at, first), (last_at, last) = timed[0], timed[-1]
    steps = last.step - first.step
    waits = [made.data_wait_share for _, made in timed[1:]]
    values = {
        "batch": config.batch_images,
        "compiled": config.compile_model,
        "images_per_s": round(steps * config.batch_images / (last_at - first_at), 1),
        "step_ms": round(1000 * (last_at - first_at) / steps, 1),
        "data_wait_share": round(sum(waits) / len(waits), 3),
        "first_steps_s": round(first_at - begun, 1),
        "loss": round(last.loss, 3),
        "own_iou": round(last.first_own_iou, 3),
    }
    if device.type == "cuda":
        values["peak_gib"] = round(torch.cuda.max_memory_allocated() / 2**30, 1)
    print(json.dumps(values), flush=True)
    if options.profile:
        _profile(trainer, options, device)


def _profile(trainer: SamTrainer, options: argparse.Namespace, device: torch.device) -> None:
    """Operators of some steps, and where a step waited for the device."""
    if device.type == "cuda":
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            _some_steps(trainer, 4)
            torch.cuda.set_sync_debug_mode("default")
        waits = Counter(
            f"{each.filename}:{each.lineno}" for each in caught if "synchron" in str(each.message)
        )
        print(f"waits for the device in 4 steps, the last report's among them: {waits}")
    kinds = [torch.profiler.ProfilerActivity.CPU]
    if device.type == "cuda":
        kinds.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=kinds) as profile:
        _some_steps(trainer, options.profiled_steps)
        if device.type == "cuda":
            torch.cuda.synchronize()
    key = "self_device_time_total" if device.type == "cuda" else "self_cpu_time_total"
    table = profile.key_averages().table(sort_by=key, row_limit=30, max_name_column_width=60)
    print(table, flush=True)


def _some_steps(trainer: SamTrainer, steps: int) -> None:
    """Train on for some steps."""
    last = trainer.step + steps

    def report(made: StepReport) -> None:
        if made.step >= last:
            raise _Enough

    with suppress(_Enough):
        trainer.run(report=report, report_every=steps, checkpoint_seconds=1e9)


def _machine(device: torch.device) -> str:
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name()}, PyTorch {torch.__version__}"
    return f"{platform.processor() or platform.machine()}, PyTorch {torch.__version__}"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("data", nargs="+", type=Path)
    parser.add_argument("--init", required=True, type=Path)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--precision", default="bf16")
    parser.add_argument("--image-size", type=int)
    parser.add_argument("--batch-images", default="32,64")
    parser.add_argument("--masks-per-image", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--synthetic", type=float, default=0.05)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--warmup", type=int, default=10)
    parser.add_argument("--report-every", type=int, default=5)
    parser.add_argument("--data-workers", type=int, default=15)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--profiled-steps", type=int, default=2)
    return parser.parse_args()


if __name__ == "__main__":
    main()
