"""Does predicted IoU tell true IoU: correlation, a table, and the threshold that follows."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sa_engine.evaluation.points import Score
from sa_engine.evaluation.summary import layout


@dataclass(frozen=True, slots=True)
class CalibrationBin:
    """Masks whose predicted IoU lies in [low, high)."""

    low: float
    high: float
    masks: int
    predicted: float
    true: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """Of the method's own masks for one click.

    pearson, spearman: correlations of predicted and true IoU; 0 where one does not vary.
    error: mean absolute difference of the bins' means, weighted by their masks.
    """

    pearson: float
    spearman: float
    error: float
    bins: tuple[CalibrationBin, ...]


def calibrate(scores: Sequence[Score], *, bins: int = 10) -> Calibration:
    """The calibration of predicted IoU over some scores."""
    predicted = np.array([s.predicted_iou for s in scores])
    true = np.array([s.own_iou for s in scores])
    edges = np.linspace(0, 1, bins + 1)
    place = np.clip(np.digitize(predicted, edges) - 1, 0, bins - 1)
    made = []
    for i in range(bins):
        inside = place == i
        if inside.any():
            mean_predicted, mean_true = float(predicted[inside].mean()), float(true[inside].mean())
            count = int(inside.sum())
            low, high = float(edges[i]), float(edges[i + 1])
            made.append(CalibrationBin(low, high, count, mean_predicted, mean_true))
    error = sum(b.masks * abs(b.predicted - b.true) for b in made) / max(1, len(scores))
    pearson = _correlation(predicted, true)
    spearman = _correlation(_ranks(predicted), _ranks(true))
    return Calibration(pearson, spearman, error, tuple(made))


def calibration_table(calibration: Calibration, *, markdown: bool = False) -> str:
    """The bins as a table."""
    lines = [
        [f"{b.low:.1f} to {b.high:.1f}", "", f"{b.masks:,}", f"{b.predicted:.3f}", f"{b.true:.3f}"]
        for b in calibration.bins
    ]
    head = ["predicted IoU", "", "masks", "mean predicted", "mean true"]
    return layout(head, lines, markdown=markdown)


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks from 0; equal values share the mean of their ranks."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    means: NDArray[np.float64] = (ends - counts + ends - 1) / 2
    return means[inverse]


def _correlation(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    if len(first) < 2 or first.std() == 0 or second.std() == 0:
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])
