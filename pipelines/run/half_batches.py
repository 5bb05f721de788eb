"""Going on when a GPU has not memory enough: fewer prompts and crops at a time."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from sa_engine.automask.generator import MaskGenerator
from sa_engine.dataset.records import MaskRecord

_PROMPTS, _CROPS = 64, 16
"""What a generator that was told nothing has at once on a GPU, at most as far as memory goes."""


def generate_within_memory(
    generator: MaskGenerator, rgb_HW3: NDArray[np.uint8]
) -> Sequence[MaskRecord]:
    """As `generator.generate`, with half the prompts and crops at a time after each failure.

    How many go through together changes no mask. What was found to fit is kept for later images.

    Raises torch.OutOfMemoryError if not even one prompt fits.
    """
    while True:
        try:
            return generator.generate(rgb_HW3)
        except torch.OutOfMemoryError:
            prompts = generator.config.points_per_batch or _PROMPTS
            crops = generator.config.crops_per_batch or _CROPS
            if prompts == crops == 1:
                raise
        # Outside of the handler, which would hold on to all that the failed attempt had made.
        generator.config = replace(
            generator.config,
            points_per_batch=max(1, prompts // 2),
            crops_per_batch=max(1, crops // 2),
        )
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
