"""Trains 12 small steps in the folder given, writing the state after every one."""

import sys
from dataclasses import replace
from pathlib import Path

import torch

from sa_engine.training.data.mixture import Mixture
from sa_engine.training.data.samples import PromptConfig
from sa_engine.training.data.scene_source import SceneSource
from sa_engine.training.sam.recipes import scratch
from sa_engine.training.sam.task import SamTrainer
from tests.support.small_sam import small_sam

torch.set_num_threads(1)
torch.manual_seed(0)
prompts = PromptConfig(masks_per_image=2)
config = replace(
    scratch().train, image_size=32, steps=12, batch_images=2, prompts=prompts, drop_path=0.2
)
sam = small_sam(32, drop_path=0.2)
mixture = Mixture([SceneSource(size=32, prompts=prompts)], [1], seed=0)
run = SamTrainer(sam, mixture, config=config, folder=Path(sys.argv[1]))
run.run(checkpoint_seconds=0)
