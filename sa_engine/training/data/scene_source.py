"""Synthetic scenes as a source of training samples."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from sa_engine.errors import UsageError
from sa_engine.training.data.samples import PromptConfig, Sample, build_sample
from sa_engine.training.data.scene_config import SceneConfig
from sa_engine.training.data.scene_fills import Rgb
from sa_engine.training.data.scenes import render_scene

_MOST_SCENES = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneSource:
    """Scenes of the model's input size, a new one for every draw.

    photos: photographs to cut fills from; none gives scenes that need no data at all.
    """

    size: int
    prompts: PromptConfig
    scenes: SceneConfig = field(default_factory=SceneConfig)
    photos: Sequence[Rgb] = ()
    name: str = "synthetic"

    def draw(self, rng: np.random.Generator, *, key: int) -> Sample:
        """Render a scene and choose masks from it. UsageError if none has a usable size."""
        config = replace(self.scenes, size=self.size)
        limit = self.prompts.max_area_fraction * self.size**2
        for _ in range(_MOST_SCENES):
            scene = render_scene([key, int(rng.integers(2**62))], config, photos=self.photos)
            areas = scene.masks_MHW.sum(axis=(1, 2))
            usable = np.flatnonzero((areas <= limit) & (areas >= self.prompts.min_area))
            if len(usable):
                break
        else:
            raise UsageError(
                f"no object of {_MOST_SCENES} synthetic scenes has from "
                f"{self.prompts.min_area:g} (--min-area) to {limit:g} pixels "
                f"(--max-area-fraction {self.prompts.max_area_fraction:g}); change these limits"
            )
        chosen = rng.permutation(usable)[: self.prompts.masks_per_image]
        masks = [scene.masks_MHW[m] for m in chosen]
        return build_sample(
            scene.rgb_HW3, masks, size=self.size, config=self.prompts, rng=rng, key=key
        )
