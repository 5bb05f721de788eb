"""The order of training data: a pure function of (seed, position).

Sample number `position` is the same whoever asks for it: one process or eight, a fresh run or a
resumed one. A step takes the next `batch` positions, so the state of the data order is the step.
"""

import sys
from collections.abc import Iterator, Sequence
from typing import Generic, Protocol, TypeVar

import numpy as np
from torch.utils.data import Dataset as TorchDataset
from torch.utils.data import Sampler

from sa_engine.training.distributed import World

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class SampleSource(Protocol[T_co]):
    """A set of images that can be drawn from."""

    @property
    def name(self) -> str:
        """The set's name."""

    def draw(self, rng: np.random.Generator, *, key: int) -> T_co:
        """A random image of the set, augmented, with what training needs to know of it."""


class Mixture(TorchDataset[T], Generic[T]):
    """Several sources, drawn from by weight."""

    def __init__(
        self, sources: Sequence[SampleSource[T]], weights: Sequence[float], *, seed: int
    ) -> None:
        if not sources or len(sources) != len(weights):
            raise ValueError(
                f"{len(sources)} sources and {len(weights)} weights; give one for each"
            )
        total = float(sum(weights))
        if min(weights) < 0 or total <= 0:
            raise ValueError(f"weights are {list(weights)}; give values >= 0, one of them above 0")
        self._sources = list(sources)
        self._shares = np.cumsum(np.asarray(weights, dtype=np.float64) / total)
        self._seed = seed

    def __getitem__(self, position: int) -> T:
        rng = np.random.default_rng([self._seed, position])
        chosen = int(np.searchsorted(self._shares, rng.random(), side="right"))
        source = self._sources[min(chosen, len(self._sources) - 1)]
        return source.draw(rng, key=position)


class Positions(Sampler[int]):
    """The positions that one process needs, in order, from one step to the last.

    batch_images: images of a step, over all processes; a multiple of their number.
    first_step, steps: steps done, and in all.
    """

    def __init__(self, *, batch_images: int, first_step: int, steps: int, world: World) -> None:
        self._batch, self._world = batch_images, world
        self._steps = range(first_step, steps)

    def __iter__(self) -> Iterator[int]:
        own = self._batch // self._world.size
        for step in self._steps:
            start = step * self._batch + self._world.rank * own
            yield from range(start, start + own)

    def __len__(self) -> int:
        return len(self._steps) * (self._batch // self._world.size)


def start_method(workers: int) -> str | None:
    """How processes that prepare samples are started, for torch's data loader.

    Forked on Linux, whatever the default of this Python: a pack's pixels are then shared with all
    of them, and copied to none.
    """
    return "fork" if workers and sys.platform == "linux" else None
