import numpy as np
import torch
from numpy.typing import NDArray

from sa_engine.automask.config import GeneratorConfig
from sa_engine.automask.generator import MaskGenerator
from sa_engine.automask.steps import NoTimes, StepTimes, TimedStep
from sa_engine.model.sam import Sam


def test_every_step_of_a_run_is_timed(random_sam: Sam, picture: NDArray[np.uint8]) -> None:
    times = StepTimes(torch.device("cpu"))
    config = GeneratorConfig(points_per_side=2, pred_iou_thresh=0.0, stability_score_thresh=0.0)
    MaskGenerator(random_sam, config, times=times).generate(picture)
    assert all(times.seconds[step] > 0 for step in TimedStep)


def test_times_add_up() -> None:
    times = StepTimes(torch.device("cpu"))
    with times.measure(TimedStep.ENCODE):
        pass
    once = times.seconds[TimedStep.ENCODE]
    with times.measure(TimedStep.ENCODE):
        pass
    assert times.seconds[TimedStep.ENCODE] > once > 0
    assert times.seconds[TimedStep.CLEAN] == 0


def test_no_times() -> None:
    times = NoTimes(torch.device("cpu"))
    with times.measure(TimedStep.ENCODE):
        pass
    assert times.seconds[TimedStep.ENCODE] == 0
