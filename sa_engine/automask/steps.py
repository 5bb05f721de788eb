"""Where the time of mask generation goes, step by step."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum

import torch

from sa_engine.model.crew import sharing


class TimedStep(StrEnum):
    """The steps of mask generation, in order."""

    RESIZE = "resize"
    ENCODE = "encode"
    PROMPT = "prompt"
    """Prompt encoder, the decoder's attention and predicted IoU."""
    DRAW = "draw"
    """Low-resolution logits of masks above the IoU threshold."""
    MEASURE = "measure"
    """Full resolution: stability, areas, boxes."""
    SUPPRESS = "suppress"
    """NMS within and between crops."""
    RUN_LENGTHS = "run-lengths"
    CLEAN = "clean"
    """Small regions, area limits, mask NMS."""


class StepTimes:
    """Adds up seconds per step.

    Where several threads take pieces of the work, a second of each of n threads counts 1 / n: the
    steps still add up to what the whole took. Prompts are decoded and measured in such pieces.
    On an accelerator it waits at every step's end, so that times belong to their step; the whole
    is then slower than without.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._lock = threading.Lock()
        self.seconds: dict[TimedStep, float] = dict.fromkeys(TimedStep, 0.0)

    @contextmanager
    def measure(self, step: TimedStep) -> Iterator[None]:
        """Count the time of the block."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            if self._device.type == "cuda":
                torch.cuda.synchronize(self._device)
            elif self._device.type == "mps":
                torch.mps.synchronize()
            seconds = time.perf_counter() - begin
            with self._lock:
                self.seconds[step] += seconds / sharing()


class NoTimes(StepTimes):
    """Counts nothing and never waits."""

    @contextmanager
    def measure(self, step: TimedStep) -> Iterator[None]:  # noqa: ARG002
        """Do nothing."""
        yield
