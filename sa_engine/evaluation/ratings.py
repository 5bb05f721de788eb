"""Ratings of masks from 1 to 10 by one or more people: how they agree, and the means.

Source: "Segment Anything", section 7.1 and appendix G: people rated masks from 1 to 10 by a guide.
Agreement is Krippendorff's alpha for intervals: 1 is perfect, 0 is chance.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from sa_engine.errors import UsageError
from sa_engine.evaluation.summary import Interval

LEAST, MOST = 1, 10
RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class Rating:
    """One person's score of a mask."""

    mask_id: int
    rater: str
    score: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How people agree on the masks that several of them rated.

    masks: rated by two or more. alpha: Krippendorff's, nan where none is or all scores are equal.
    within_1: share of pairs of scores of a mask that differ by at most 1; nan without pairs.
    """

    raters: int
    masks: int
    alpha: float
    within_1: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RatedGroup:
    """Mean score of a group's masks, each mask's being the mean of its raters'."""

    kind: str
    group: str
    masks: int
    ratings: int
    score: Interval


def read_ratings(path: Path) -> list[Rating]:
    """Ratings of a CSV or Parquet file with mask_id, score and, if several people did, rater.

    Without a column `rater` the file's name stands for the person. Raises UsageError for files that
    cannot be read, and scores that are no whole numbers from 1 to 10.
    """
    if not path.is_file():
        raise UsageError(f"there is no file {path}: give ratings as CSV or Parquet")
    try:
        is_parquet = path.suffix.lower() in (".parquet", ".pq")
        table = pq.read_table(path) if is_parquet else pa_csv.read_csv(path)
    except (pa.ArrowException, OSError) as error:
        raise UsageError(f"{path} cannot be read as a table: {error}") from error
    lacking = {"mask_id", "score"} - set(table.column_names)
    if lacking:
        raise UsageError(
            f"{path} lacks the column {sorted(lacking)[0]}: it needs mask_id and score"
        )
    ratings = []
    for number, row in enumerate(table.to_pylist(), start=1):
        score, mask_id = row["score"], row["mask_id"]
        if not isinstance(mask_id, int) or score not in range(LEAST, MOST + 1):
            raise UsageError(
                f"{path}, row {number}: mask {mask_id!r} has the score {score!r}; scores are whole "
                f"numbers from {LEAST} to {MOST}"
            )
        ratings.append(Rating(mask_id, str(row.get("rater") or path.stem), int(score)))
    return ratings


def agreement(ratings: Sequence[Rating]) -> Agreement:
    """How the raters agree; a person's last score of a mask counts."""
    of_masks = [np.array(list(scores.values()), float) for scores in _by_mask(ratings).values()]
    several = [scores for scores in of_masks if len(scores) > 1]
    raters = len({rating.rater for rating in ratings})
    if not several:
        return Agreement(raters=raters, masks=0, alpha=float("nan"), within_1=float("nan"))
    pairs = [abs(s[:, None] - s)[np.triu_indices(len(s), 1)] for s in several]
    close = np.concatenate(pairs) <= 1
    every = np.concatenate(several)
    # Twice the sum over pairs within a mask, and over all pairs.
    observed = sum(
        2 * float((p**2).sum()) / (len(s) - 1) for s, p in zip(several, pairs, strict=True)
    )
    expected = 2 * (len(every) * float((every**2).sum()) - float(every.sum()) ** 2)
    n = len(every)
    alpha = 1 - (n - 1) * observed / expected if expected else float("nan")
    return Agreement(raters=raters, masks=len(several), alpha=alpha, within_1=float(close.mean()))


def rated_groups(
    ratings: Sequence[Rating], kinds: Mapping[str, Mapping[int, str]], *, seed: int = 0
) -> list[RatedGroup]:
    """Mean scores over all masks, and by group of each kind with 95 % intervals over images.

    kinds: for each kind ("stage", "model") the group of each mask id.
    """
    by_mask = _by_mask(ratings)
    means = {mask: float(np.mean(list(scores.values()))) for mask, scores in by_mask.items()}
    counts = {mask: len(scores) for mask, scores in by_mask.items()}
    groups: list[tuple[str, str, list[int]]] = [("all", "", list(means))]
    for kind, group_of in kinds.items():
        names = sorted({group_of[mask] for mask in means if mask in group_of})
        groups += [(kind, n, [m for m in means if group_of.get(m) == n]) for n in names]
    return [
        RatedGroup(
            kind=kind,
            group=name,
            masks=len(masks),
            ratings=sum(counts[mask] for mask in masks),
            score=_interval({mask: means[mask] for mask in masks}, seed),
        )
        for kind, name, masks in groups
        if masks
    ]


def _by_mask(ratings: Sequence[Rating]) -> dict[int, dict[str, int]]:
    by_mask: dict[int, dict[str, int]] = {}
    for rating in ratings:
        by_mask.setdefault(rating.mask_id, {})[rating.rater] = rating.score
    return by_mask


def _interval(means: Mapping[int, float], seed: int) -> Interval:
    """Images are drawn again; a mask's image is the first part of its id."""
    by_image: dict[int, list[float]] = {}
    for mask, mean in means.items():
        by_image.setdefault(mask // 1_000_000, []).append(mean)
    sums = np.array([sum(values) for values in by_image.values()])
    counts = np.array([float(len(values)) for values in by_image.values()])
    mean = float(sums.sum() / counts.sum())
    if len(sums) < 2:
        return Interval(mean, float("nan"), float("nan"))
    drawn = np.random.default_rng(seed).integers(len(sums), size=(RESAMPLES, len(sums)))
    low, high = np.quantile(sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1), [0.025, 0.975])
    return Interval(mean, float(low), float(high))
