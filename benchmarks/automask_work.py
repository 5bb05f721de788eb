"""How much work everything mode does on an image: operations and bytes per step, pixels actually
computed, time by operator."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.profiler import ProfilerActivity
from torch.profiler import profile as torch_profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from sa_engine.automask import tiles
from sa_engine.automask.config import GeneratorConfig
from sa_engine.automask.generator import MaskGenerator
from sa_engine.automask.steps import StepTimes, TimedStep
from sa_engine.model.sam import Sam


def _attention_flops(q: Any, k: Any, v: Any, *_: Any, **__: Any) -> int:
    flops: int = sdpa_flop_count(q.shape, k.shape, v.shape)  # type: ignore[no-untyped-call]
    return flops


# PyTorch's counter knows attention on GPUs only.
_counted: Any = _attention_flops
_counted._get_raw = True
_CPU_ATTENTION = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops}


class Traffic(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the bytes of what operators take and give: what would go through memory if nothing
    stayed in a cache between operators. Views move nothing and count nothing."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if not func.is_view:
            tensors = [t for t in tree_leaves((args, kwargs, result)) if isinstance(t, Tensor)]
            self.bytes += sum(_held(tensor) for tensor in tensors)
        return result


def _held(tensor: Tensor) -> int:
    """Bytes of a tensor, what is repeated by a stride of 0 counted once."""
    sizes = [n for n, step in zip(tensor.shape, tensor.stride(), strict=True) if step]
    return math.prod(sizes) * tensor.element_size()


class Work(StepTimes):
    """Counts multiplications and additions of matrix products, convolutions and attention, and the
    bytes that go in and out of operators."""

    def __init__(self, device: torch.device) -> None:
        super().__init__(device)
        self.flops: dict[TimedStep, int] = dict.fromkeys(TimedStep, 0)
        self.bytes: dict[TimedStep, int] = dict.fromkeys(TimedStep, 0)

    @contextmanager
    def measure(self, step: TimedStep) -> Iterator[None]:
        """Count the operations and bytes of the block."""
        counter = FlopCounterMode(display=False, custom_mapping=_CPU_ATTENTION)
        with counter, Traffic() as traffic:
            yield
        self.flops[step] += counter.get_total_flops()
        self.bytes[step] += traffic.bytes


def count_work(
    sam: Sam, device: torch.device, rgb_HW3: NDArray[np.uint8], parameters: dict[str, Any]
) -> dict[str, Any]:
    """GFLOP and GB per step, masks measured, pixels computed for them and those they would have.

    By one thread: counters see no other.
    """
    torch.set_num_threads(1)
    sam.requires_grad_(False)  # the counter would follow gradients
    work = Work(device)
    counted = {"masks": 0, "pixels": 0}
    plain_values, plain_extremes = tiles._values, tiles._extremes

    def values(*arguments: Any) -> Iterator[tuple[slice, Tensor]]:
        for rows, tile_values in plain_values(*arguments):
            counted["pixels"] += tile_values.numel()
            yield rows, tile_values

    def extremes(logits_MHW: Tensor, tiling: tiles.Tiling) -> Any:
        counted["masks"] += len(logits_MHW)
        return plain_extremes(logits_MHW, tiling)

    module: Any = tiles
    module._values, module._extremes = values, extremes
    try:
        generator = MaskGenerator(sam, GeneratorConfig(**parameters), device=device, times=work)
        generator.generate(rgb_HW3)
    finally:
        module._values, module._extremes = plain_values, plain_extremes
    return {
        "gflop": {step.value: work.flops[step] / 1e9 for step in TimedStep},
        "gbyte": {step.value: work.bytes[step] / 1e9 for step in TimedStep},
        "masks_measured": counted["masks"],
        "pixels_computed": counted["pixels"],
        "pixels_at_full_size": counted["masks"] * rgb_HW3.shape[0] * rgb_HW3.shape[1],
    }


def operators(
    sam: Sam, device: torch.device, rgb_HW3: NDArray[np.uint8], parameters: dict[str, Any]
) -> dict[str, Any]:
    """Seconds of each operator by itself, and of all that is no operator, over one image.

    By one thread: the profiler sees no other.
    """
    torch.set_num_threads(1)
    generator = MaskGenerator(sam, GeneratorConfig(**parameters), device=device)
    generator.generate(rgb_HW3)
    begin = time.perf_counter()
    generator.generate(rgb_HW3)
    plain_seconds = time.perf_counter() - begin
    with torch_profile(activities=[ProfilerActivity.CPU]) as profiler:
        begin = time.perf_counter()
        generator.generate(rgb_HW3)
        seconds = time.perf_counter() - begin
    rows = sorted(profiler.key_averages(), key=lambda e: -e.self_cpu_time_total)
    inside = sum(e.self_cpu_time_total for e in rows) / 1e6
    return {
        "seconds": plain_seconds,
        "profiled_seconds": seconds,
        "outside_operators": seconds - inside,
        "operators": [
            {"name": e.key, "calls": e.count, "seconds": e.self_cpu_time_total / 1e6}
            for e in rows[:20]
        ],
    }
