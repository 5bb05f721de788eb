"""Trains 3 small steps in the folder given, in one process or several."""

import sys
from dataclasses import replace
from pathlib import Path

import torch

from sa_engine.training.data.mixture import Mixture
from sa_engine.training.data.samples import PromptConfig
from sa_engine.training.data.scene_source import SceneSource
from sa_engine.training.distributed import join_world, leave_world
from sa_engine.training.sam.recipes import scratch
from sa_engine.training.sam.task import SamTrainer
from tests.support.small_sam import small_sam

torch.set_num_threads(1)
torch.manual_seed(0)
world = join_world()
prompts = PromptConfig(masks_per_image=3, box_probability=0.3)
config = replace(scratch().train, image_size=32, steps=3, batch_images=4, prompts=prompts)
mixture = Mixture([SceneSource(size=32, prompts=prompts)], [1], seed=0)
run = SamTrainer(
    small_sam(32),
    mixture,
    config=config,
    folder=Path(sys.argv[1]),
    world=world,
)
run.run(report_every=1)
leave_world()
