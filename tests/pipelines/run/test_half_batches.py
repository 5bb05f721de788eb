"""A device without memory enough costs speed, and an image only if nothing fits."""

from typing import Any

import numpy as np
import pytest
import torch

from sa_engine.automask.config import GeneratorConfig
from sa_engine.automask.generator import MaskGenerator
from sa_engine.dataset.records import MaskRecord
from sa_engine.pipelines.run.half_batches import generate_within_memory


class Small(MaskGenerator):
    """Has memory for so many prompts and crops at a time."""

    def __init__(self, config: GeneratorConfig, prompts: int, crops: int) -> None:
        self.config = config
        self.limits = (prompts, crops)
        self.tried: list[tuple[int | None, int | None]] = []

    def generate(self, rgb_HW3: Any) -> list[MaskRecord]:
        asked = (self.config.points_per_batch, self.config.crops_per_batch)
        self.tried.append(asked)
        if (asked[0] or 512) > self.limits[0] or (asked[1] or 16) > self.limits[1]:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return []


IMAGE = np.zeros((4, 4, 3), dtype=np.uint8)


def test_prompts_and_crops_are_halved_until_they_fit_and_stay_so() -> None:
    generator = Small(GeneratorConfig(), 10, 16)
    assert generate_within_memory(generator, IMAGE) == []
    assert generator.tried == [(None, None), (32, 8), (16, 4), (8, 2)]
    generate_within_memory(generator, IMAGE)
    assert generator.tried[4:] == [(8, 2)]


def test_what_the_user_chose_is_where_it_starts() -> None:
    generator = Small(GeneratorConfig(points_per_batch=6, crops_per_batch=1), 1, 1)
    generate_within_memory(generator, IMAGE)
    assert generator.tried == [(6, 1), (3, 1), (1, 1)]


def test_an_image_that_never_fits_is_given_up() -> None:
    generator = Small(GeneratorConfig(points_per_batch=2), 0, 0)
    with pytest.raises(torch.OutOfMemoryError):
        generate_within_memory(generator, IMAGE)
    assert generator.tried[-1] == (1, 1)
