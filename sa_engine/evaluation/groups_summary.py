"""Mean IoU by group with intervals, and which groups differ.

Source: "Segment Anything", section 6 and table 6: mean IoU by group with 95 % bootstrap intervals.
Whether two groups differ is told by a permutation test over images, corrected for the number of
pairs (Holm), so that looking at many pairs does not find differences by chance.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from sa_engine.evaluation.points import Score
from sa_engine.evaluation.summary import Interval

RESAMPLES = 2000
LEAST_IMAGES = 2
"""A group of fewer images has a mean, but no interval and no comparison."""
ALPHA = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupScore:
    """A group's mean IoU for a prompt.

    interval: mean and 95 % bootstrap interval over images; low and high are nan for a group of one
    image. masks, images: that it has.
    """

    column: str
    value: str
    method: str
    prompt: str
    masks: int
    images: int
    interval: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupDifference:
    """Two groups whose means differ beyond chance.

    difference: of the means, first minus second. p: corrected for the pairs of its column.
    """

    column: str
    first: str
    second: str
    method: str
    prompt: str
    difference: float
    p: float


def group_scores(
    scores: Sequence[Score], groups: Mapping[tuple[str, int], Mapping[str, str]], *, seed: int = 0
) -> tuple[list[GroupScore], list[GroupDifference]]:
    """Means by group of every column, and the pairs that differ (p < 0.05 after correction).

    groups: by (set, mask id), the value of each column; masks that lack a column are left out.
    """
    found: list[GroupScore] = []
    differences: list[GroupDifference] = []
    columns = dict.fromkeys(c for known in groups.values() for c in known)
    keys = dict.fromkeys((s.method, s.prompt) for s in scores)
    for column in columns:
        for method, prompt in keys:
            members: dict[str, list[Score]] = {}
            for score in scores:
                value = groups.get((score.dataset, score.mask_id), {}).get(column)
                if value is not None and (score.method, score.prompt) == (method, prompt):
                    members.setdefault(value, []).append(score)
            sums = {value: _by_image(own) for value, own in sorted(members.items())}
            for value, (total, count) in sums.items():
                found.append(
                    GroupScore(
                        column=column,
                        value=value,
                        method=method,
                        prompt=prompt,
                        masks=int(count.sum()),
                        images=len(count),
                        interval=_interval(total, count, seed),
                    )
                )
            differences += _differences(column, method, prompt, sums, seed)
    return found, differences


def _by_image(scores: Sequence[Score]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sums and numbers of own IoU by image: masks of one image are alike, images are drawn."""
    values: dict[tuple[str, int], list[float]] = {}
    for score in scores:
        values.setdefault((score.dataset, score.image_id), []).append(score.own_iou)
    return (
        np.array([sum(v) for v in values.values()]),
        np.array([float(len(v)) for v in values.values()]),
    )


def _interval(total: NDArray[np.float64], count: NDArray[np.float64], seed: int) -> Interval:
    mean = float(total.sum() / count.sum())
    if len(count) < LEAST_IMAGES:
        return Interval(mean, float("nan"), float("nan"))
    drawn = np.random.default_rng(seed).integers(len(count), size=(RESAMPLES, len(count)))
    means = total[drawn].sum(axis=1) / count[drawn].sum(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return Interval(mean, float(low), float(high))


def _differences(
    column: str,
    method: str,
    prompt: str,
    sums: Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64]]],
    seed: int,
) -> list[GroupDifference]:
    """Pairs of groups with p under ALPHA, by Holm's correction within the column."""
    large = [value for value, (_, count) in sums.items() if len(count) >= LEAST_IMAGES]
    tested = []
    for first, second in combinations(large, 2):
        (t1, c1), (t2, c2) = sums[first], sums[second]
        difference = float(t1.sum() / c1.sum() - t2.sum() / c2.sum())
        tested.append((_permutation_p(t1, c1, t2, c2, seed), first, second, difference))
    tested.sort()
    found, largest = [], 0.0
    for place, (p, first, second, difference) in enumerate(tested):
        largest = max(largest, min(1.0, p * (len(tested) - place)))
        if largest < ALPHA:
            found.append(
                GroupDifference(
                    column=column,
                    first=first,
                    second=second,
                    method=method,
                    prompt=prompt,
                    difference=difference,
                    p=largest,
                )
            )
    return found


def _permutation_p(
    first_total: NDArray[np.float64],
    first_count: NDArray[np.float64],
    second_total: NDArray[np.float64],
    second_count: NDArray[np.float64],
    seed: int,
) -> float:
    """Share of random divisions of the images with at least as large a difference of means."""
    total = np.concatenate([first_total, second_total])
    count = np.concatenate([first_count, second_count])
    size = len(first_count)
    rng = np.random.default_rng(seed)
    order = rng.permuted(np.tile(np.arange(len(total)), (RESAMPLES, 1)), axis=1)
    own, other = order[:, :size], order[:, size:]
    means = total[own].sum(1) / count[own].sum(1) - total[other].sum(1) / count[other].sum(1)
    seen = first_total.sum() / first_count.sum() - second_total.sum() / second_count.sum()
    return float((1 + (np.abs(means) >= abs(seen) - 1e-12).sum()) / (RESAMPLES + 1))
