"""The order of training data: a pure function of (seed, position).

Sample number `position` is the same whoever asks for it: one process or eight, a fresh run or a
resumed one. A step takes the next `batch` positions, so the state of the data order is the step.
"""

from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

import numpy as np
from torch.utils.data import Dataset as TorchDataset

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class SampleSource(Protocol[T_co]):
    """A set of pictures that can be drawn from."""

    @property
    def name(self) -> str:
        """The set's name."""

    def draw(self, rng: np.random.Generator, *, key: int) -> T_co:
        """A random picture of the set, augmented, with what training needs to know of it."""


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
