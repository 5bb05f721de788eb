"""Trains a small detector for 12 steps in the folder given, writing the state after every one."""

import sys
from pathlib import Path

import torch

from tests.training.detector.test_trainer import trainer

torch.set_num_threads(1)
trainer(Path(sys.argv[1]), steps=12).run(checkpoint_seconds=0)
