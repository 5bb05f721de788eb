"""Counts in bins: exact number, sum and range of the values, quantiles to a bin."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sa_engine.report.figures.measures import FINE, Measure, Scale

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_DRAWN = 40


@dataclass(slots=True)
class Histogram:
    """Values of a measure, added a few at a time; two can be put together.

    counts: of the measure's bins. number, total, least, most: of the values themselves.
    """

    measure: Measure
    counts: NDArray[np.int64] = field(init=False)
    number: int = 0
    total: float = 0.0
    least: float = np.inf
    most: float = -np.inf

    def __post_init__(self) -> None:
        self.counts = np.zeros(len(self.measure.edges()) - 1, dtype=np.int64)

    def add(self, values: NDArray[Any]) -> None:
        """Count values, (N,); those that are not a number are passed over."""
        known = np.asarray(values, dtype=np.float64)
        known = known[~np.isnan(known)]
        if not known.size:
            return
        places = np.searchsorted(self.measure.edges(), known, side="right") - 1
        places = np.clip(places, 0, len(self.counts) - 1)
        self.counts += np.bincount(places, minlength=len(self.counts))
        self.number += known.size
        self.total += float(known.sum())
        self.least = min(self.least, float(known.min()))
        self.most = max(self.most, float(known.max()))

    def update(self, other: "Histogram") -> None:
        """Take over what another one has counted."""
        self.counts += other.counts
        self.number += other.number
        self.total += other.total
        self.least = min(self.least, other.least)
        self.most = max(self.most, other.most)

    @property
    def mean(self) -> float | None:
        """Of the values; None without any."""
        return self.total / self.number if self.number else None

    def quantile(self, share: float) -> float | None:
        """The value that `share` of the values do not exceed, to a bin; None without values.

        Whole numbers are exact unless they lie in the last, open bin.
        """
        if not self.number:
            return None
        edges = self.measure.edges()
        reached = np.cumsum(self.counts)
        rank = share * self.number
        place = int(np.searchsorted(reached, rank))
        if self.measure.scale is Scale.WHOLE:
            return float(edges[place] + 0.5)
        before = float(reached[place] - self.counts[place])
        part = (rank - before) / float(self.counts[place]) if self.counts[place] else 0.0
        low, high = float(edges[place]), float(edges[place + 1])
        if self.measure.scale is Scale.LOGARITHMIC:
            value = low * (high / low) ** part
        else:
            value = low + (high - low) * part
        return float(min(max(value, self.least), self.most))

    def drawn(self, upto: float | None = None) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Edges and counts of some 40 bins, to be drawn: the whole range of a measure with limits,
        of whole numbers up to `upto` (by default the largest), the last bin taking all beyond it.
        """
        edges, counts = self.measure.edges(), self.counts
        step = FINE
        if self.measure.scale is Scale.WHOLE:
            top = self.most if upto is None else upto
            wanted = int(max(1, min(len(counts), top - self.measure.low + 1)))
            step = max(1, -(-wanted // _DRAWN))
            bins = -(-wanted // step)
            folded = np.append(counts[: bins * step], np.zeros(max(0, bins * step - len(counts))))
            drawn = folded.reshape(bins, step).sum(axis=1).astype(np.int64)
            drawn[-1] += counts[bins * step :].sum()
            return edges[0] + step * np.arange(bins + 1), drawn
        return edges[::step], counts.reshape(-1, step).sum(axis=1)

    def to_json(self) -> dict[str, Any]:
        """Number, mean, range, quantiles, and the bins that are drawn."""
        edges, counts = self.drawn()
        names = {f"p{round(100 * share)}": self.quantile(share) for share in QUANTILES}
        some = self.number > 0
        return {
            "number": self.number,
            "mean": self.mean,
            "least": self.least if some else None,
            "most": self.most if some else None,
            **names,
            "bins": {"edges": [round(float(e), 6) for e in edges], "counts": counts.tolist()},
        }
