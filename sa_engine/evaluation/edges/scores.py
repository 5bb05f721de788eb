"""Precision and recall of edge maps over thresholds: ODS, OIS, AP and R50.

Sources: BSDS500 benchmark, `collect_eval_bdry`; R50 as in Dollar and Zitnick's edge toolbox.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sa_engine.dataset.reader import Dataset
from sa_engine.evaluation.edges.boundaries import drawn_boundaries
from sa_engine.evaluation.edges.correspondence import MAX_DISTANCE, correspond, require_solver
from sa_engine.evaluation.edges.thinning import thin
from sa_engine.evaluation.points import chosen_images
from sa_engine.masks.rle import Mask

NUM_THRESHOLDS = 99

FindEdges = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""An RGB image to its edge map, (H, W) in [0, 1]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeCounts:
    """Counts of one image at each threshold, (T,) each.

    drawn: boundary pixels of all people; drawn_found: those with a partner.
    detected: edge pixels; detected_right: those with a partner in some person's boundaries.
    """

    dataset: str
    image_id: int
    thresholds: NDArray[np.float64]
    drawn: NDArray[np.int64]
    drawn_found: NDArray[np.int64]
    detected: NDArray[np.int64]
    detected_right: NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeRow:
    """The counts of one image at one threshold, see `EdgeCounts`."""

    dataset: str
    image_id: int
    threshold: float
    drawn: int
    drawn_found: int
    detected: int
    detected_right: int


def edge_rows(counts: EdgeCounts) -> list[EdgeRow]:
    """A row for each threshold."""
    return [
        EdgeRow(
            dataset=counts.dataset,
            image_id=counts.image_id,
            threshold=float(counts.thresholds[i]),
            drawn=int(counts.drawn[i]),
            drawn_found=int(counts.drawn_found[i]),
            detected=int(counts.detected[i]),
            detected_right=int(counts.detected_right[i]),
        )
        for i in range(len(counts.thresholds))
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeScores:
    """The figures of a set.

    ods: best F-measure at one threshold for all images (threshold, recall, precision there).
    ois: F-measure at each image's best threshold. ap: average precision.
    r50: recall at a precision of 50 %.
    """

    images: int
    ods: float
    threshold: float
    recall: float
    precision: float
    ois: float
    ap: float
    r50: float


def evaluate_edges(
    dataset: Dataset,
    name: str,
    *,
    find: FindEdges,
    num_thresholds: int = NUM_THRESHOLDS,
    max_images: int | None = None,
) -> Iterator[EdgeCounts]:
    """Find the edges of every image and match them with what people drew; yields by image.

    Raises UsageError if the set holds no partitions, or scipy is missing.
    """
    require_solver()
    for record in chosen_images(dataset, name, max_images):
        drawn = drawn_boundaries(record)
        edges = find(dataset.read_rgb(record))
        yield count_edges(edges, drawn, num_thresholds, dataset=name, image_id=record.image_id)


def count_edges(
    edges: NDArray[np.float32],
    drawn: Sequence[Mask],
    num_thresholds: int = NUM_THRESHOLDS,
    *,
    dataset: str = "",
    image_id: int = 0,
    max_distance: float = MAX_DISTANCE,
) -> EdgeCounts:
    """Match an edge map with the boundaries that each person drew, at every threshold."""
    step = 1 / (num_thresholds + 1)
    thresholds = np.linspace(step, 1 - step, num_thresholds)
    counts = np.zeros((4, num_thresholds), dtype=np.int64)
    before, last = None, np.zeros(4, dtype=np.int64)
    for number, threshold in enumerate(thresholds):
        above = edges >= threshold
        if before is None or (above != before).any():
            before, last = above, _count(thin(above), drawn, max_distance)
        counts[:, number] = last
    return EdgeCounts(
        dataset=dataset,
        image_id=image_id,
        thresholds=thresholds,
        drawn=counts[0],
        drawn_found=counts[1],
        detected=counts[2],
        detected_right=counts[3],
    )


def _count(detected: Mask, drawn: Sequence[Mask], max_distance: float) -> NDArray[np.int64]:
    right = np.zeros_like(detected)
    total = found = 0
    for boundaries in drawn:
        ours, theirs = correspond(detected, boundaries, max_distance=max_distance)
        right |= ours
        total += int(boundaries.sum())
        found += int(theirs.sum())
    return np.array([total, found, int(detected.sum()), int(right.sum())], dtype=np.int64)


def edge_scores(counts: Sequence[EdgeCounts]) -> EdgeScores:
    """The figures of a set's images; at least one."""
    thresholds = counts[0].thresholds
    total = np.sum([[c.drawn_found, c.drawn, c.detected_right, c.detected] for c in counts], axis=0)
    recall, precision = _ratio(total[0], total[1]), _ratio(total[2], total[3])
    best = _best_f(thresholds, recall, precision)
    of_best = np.zeros(4)
    for c in counts:
        own = _f(_ratio(c.drawn_found, c.drawn), _ratio(c.detected_right, c.detected))
        place = int(np.argmax(own))
        of_best += [
            c.drawn_found[place],
            c.drawn[place],
            c.detected_right[place],
            c.detected[place],
        ]
    ois = _f(
        _ratio(of_best[0:1], of_best[1:2]),
        _ratio(of_best[2:3], of_best[3:4]),
    )
    return EdgeScores(
        images=len(counts),
        ods=best[0],
        threshold=best[1],
        recall=best[2],
        precision=best[3],
        ois=float(ois[0]),
        ap=average_precision(recall, precision),
        r50=recall_at_half(recall, precision),
    )


def average_precision(recall: NDArray[np.float64], precision: NDArray[np.float64]) -> float:
    """Mean of the precision over recall 0, 0.01, … 1, interpolated; 0 beyond the known recalls."""
    rising, first = np.unique(recall, return_index=True)
    if len(rising) < 2:
        return 0.0
    at = np.arange(101) / 100
    values = np.interp(at, rising, precision[first], left=0, right=0)
    return float(values.sum() / 100)


def recall_at_half(recall: NDArray[np.float64], precision: NDArray[np.float64]) -> float:
    """The recall at a precision of 50 %, interpolated; at the lowest one if all exceed it."""
    rising, first = np.unique(precision, return_index=True)
    if not len(rising) or rising[-1] < 0.5:
        return 0.0
    return float(np.interp(max(float(rising[0]), 0.5), rising, recall[first]))


def _best_f(
    thresholds: NDArray[np.float64],
    recall: NDArray[np.float64],
    precision: NDArray[np.float64],
) -> tuple[float, float, float, float]:
    """Best F-measure (with threshold, recall, precision), between neighbouring thresholds too."""
    place = int(np.argmax(_f(recall, precision)))
    best = (
        float(_f(recall, precision)[place]),
        float(thresholds[place]),
        float(recall[place]),
        float(precision[place]),
    )
    for i in range(len(thresholds) - 1):
        weights = np.linspace(0, 1, 100)
        r = recall[i] + weights * (recall[i + 1] - recall[i])
        p = precision[i] + weights * (precision[i + 1] - precision[i])
        f = _f(r, p)
        at = int(np.argmax(f))
        if f[at] > best[0]:
            threshold = thresholds[i] + weights[at] * (thresholds[i + 1] - thresholds[i])
            best = (float(f[at]), float(threshold), float(r[at]), float(p[at]))
    return best


def _ratio(part: NDArray[np.generic], whole: NDArray[np.generic]) -> NDArray[np.float64]:
    """part / whole, 0 where whole is 0."""
    below = np.asarray(whole, dtype=np.float64)
    found: NDArray[np.float64] = np.asarray(part, dtype=np.float64) / np.maximum(below, 1)
    return found


def _f(recall: NDArray[np.float64], precision: NDArray[np.float64]) -> NDArray[np.float64]:
    both = recall + precision
    f: NDArray[np.float64] = 2 * recall * precision / np.where(both > 0, both, 1)
    return f
