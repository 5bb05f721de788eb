"""How much work everything mode does on an image: operations per step, pixels actually computed."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from sa_engine.automask import tiles
from sa_engine.automask.config import GeneratorConfig
from sa_engine.automask.generator import MaskGenerator
from sa_engine.automask.steps import Step, StepTimes
from sa_engine.model.sam import Sam


def _attention_flops(q: Any, k: Any, v: Any, *_: Any, **__: Any) -> int:
    flops: int = sdpa_flop_count(q.shape, k.shape, v.shape)
    return flops


# PyTorch's counter knows attention on GPUs only.
_attention_flops._get_raw = True
_CPU_ATTENTION = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops}


class Operations(StepTimes):
    """Counts multiplications and additions of matrix products, convolutions and attention."""

    def __init__(self, device: torch.device) -> None:
        super().__init__(device)
        self.flops: dict[Step, int] = dict.fromkeys(Step, 0)

    @contextmanager
    def measure(self, step: Step) -> Iterator[None]:
        """Count the operations of the block."""
        with FlopCounterMode(display=False, custom_mapping=_CPU_ATTENTION) as counter:
            yield
        self.flops[step] += counter.get_total_flops()


def count_work(
    sam: Sam, device: torch.device, rgb_HW3: NDArray[np.uint8], parameters: dict[str, Any]
) -> dict[str, Any]:
    """GFLOP per step, masks measured, pixels computed for them and pixels they would have."""
    sam.requires_grad_(False)  # the counter would follow gradients
    operations = Operations(device)
    counted = {"masks": 0, "pixels": 0}
    plain_values, plain_extremes = tiles._values, tiles._extremes

    def values(*arguments: Any) -> Iterator[tuple[slice, torch.Tensor]]:
        for rows, tile_values in plain_values(*arguments):
            counted["pixels"] += tile_values.numel()
            yield rows, tile_values

    def extremes(logits_MHW: torch.Tensor, tiling: tiles.Tiling) -> Any:
        counted["masks"] += len(logits_MHW)
        return plain_extremes(logits_MHW, tiling)

    tiles._values, tiles._extremes = values, extremes
    try:
        generator = MaskGenerator(
            sam, GeneratorConfig(**parameters), device=device, times=operations
        )
        generator.generate(rgb_HW3)
    finally:
        tiles._values, tiles._extremes = plain_values, plain_extremes
    return {
        "gflop": {step.value: operations.flops[step] / 1e9 for step in Step},
        "masks_measured": counted["masks"],
        "pixels_computed": counted["pixels"],
        "pixels_at_full_size": counted["masks"] * rgb_HW3.shape[0] * rgb_HW3.shape[1],
    }
