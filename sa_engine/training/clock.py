"""The time that a run has taken, over its interruptions, and what it waited for."""

import time
from collections.abc import Iterator
from typing import Generic, TypeVar

import torch
import torch.distributed as dist

from sa_engine.training.distributed import World

T = TypeVar("T")


class RunClock:
    """Seconds of training, the same in all processes; with a limit it tells how far the run is.

    max_minutes: after which the run is over; None for a run that goes by steps alone.
    before: seconds that earlier parts of the run took.
    """

    def __init__(
        self,
        max_minutes: float | None,
        world: World,
        device: torch.device,
        *,
        before: float = 0.0,
    ) -> None:
        self._limit = None if max_minutes is None else 60 * max_minutes
        self._world, self._device = world, device
        self._started: float | None = None
        self._read = self._before = before

    def start(self) -> None:
        """Let time count from here."""
        self._started = time.monotonic()
        self.read()

    @property
    def seconds(self) -> float:
        """Seconds of training until now, as this process sees them."""
        return self._before + (0.0 if self._started is None else time.monotonic() - self._started)

    def read(self) -> None:
        """Take the time that `is_over` and `horizon` answer by: the main process's."""
        self._read = self.seconds
        if self._limit is not None and self._world.size > 1:
            shared = torch.tensor([self._read], dtype=torch.float64, device=self._device)
            dist.broadcast(shared, 0)
            self._read = float(shared)

    def is_over(self) -> bool:
        """Whether the time is up."""
        return self._limit is not None and self._read >= self._limit

    def horizon(self, step: int, steps: int) -> int:
        """The steps that the run will have had at its end, if it goes on as until now.

        step: those done. steps: the most that it may have.
        """
        if self.is_over():
            return step
        if self._limit is None or not step or not self._read:
            return steps
        return min(steps, max(step + 1, round(step * self._limit / self._read)))


class WaitedFor(Generic[T]):
    """An iterator that knows how long its values let wait."""

    def __init__(self, values: Iterator[T]) -> None:
        self._values = values
        self._waited = 0.0

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        start = time.monotonic()
        value = next(self._values)
        self._waited += time.monotonic() - start
        return value

    def take(self) -> float:
        """Seconds since the last call."""
        waited, self._waited = self._waited, 0.0
        return waited
