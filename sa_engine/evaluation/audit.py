"""How good masks are, by what people made of them: shares of pairs by IoU.

Source: "Segment Anything", section 5, "Mask quality": 500 images were drawn, their masks corrected
by professionals; 94 % of the pairs had an IoU over 0.9, 97 % over 0.75.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sa_engine.evaluation.proposals import AREAS
from sa_engine.evaluation.summary import Interval

PAPER = {"over_90": 0.94, "over_75": 0.97}
UNCHANGED = 0.98
"""IoU from which a mask counts as left as it was."""

RESAMPLES = 2000
_SCORE_BINS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditedMask:
    """A mask of the sample and what came back for it.

    image_id, mask_id: in the sample. source: the image's name.
    iou, boundary_iou: with its correction; None if it was deleted.
    seconds: that people took over it, where that is known.
    """

    image_id: int
    mask_id: int
    source: str
    stage: str
    area: int
    predicted_iou: float | None
    iou: float | None
    boundary_iou: float | None
    seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRow:
    """The figures of some masks; over_90, over_75 and the means are of the pairs, with 95 %
    intervals by resampling images. None where all were deleted.

    over_90_of_all: the same with deleted masks counted as wrong.
    """

    kind: str
    group: str
    masks: int
    deleted: int
    over_90: Interval | None
    over_75: Interval | None
    mean_iou: Interval | None
    mean_boundary_iou: Interval | None
    over_90_of_all: Interval


def audit_rows(masks: Sequence[AuditedMask], *, seed: int = 0) -> list[AuditRow]:
    """All masks, then by stage, by COCO's size classes, and by tenths of the predicted IoU."""
    kinds: Mapping[str, Callable[[AuditedMask], str]] = {
        "stage": lambda mask: mask.stage,
        "size": _size,
        "predicted IoU": _score_bin,
    }
    rows = [_row("all", "", masks, seed)] if masks else []
    for kind, group_of in kinds.items():
        groups: dict[str, list[AuditedMask]] = {}
        for mask in masks:
            groups.setdefault(group_of(mask), []).append(mask)
        names = sorted(groups) if kind != "size" else [name for name in AREAS if name in groups]
        rows += [_row(kind, name, groups[name], seed) for name in names]
    return rows


def audit_figures(masks: Sequence[AuditedMask]) -> dict[str, Any]:
    """What an audit says, as JSON values: counts, the rows of `audit_rows`, seconds a mask.

    Bounds of an interval are None where there is one image.
    """
    seconds = [mask.seconds for mask in masks if mask.seconds is not None]
    return {
        "images": len({mask.image_id for mask in masks}),
        "masks": len(masks),
        "deleted": sum(mask.iou is None for mask in masks),
        "unchanged": sum(mask.iou is not None and mask.iou >= UNCHANGED for mask in masks),
        "rows": [
            {
                name: _without_nan(value) if isinstance(value, dict) else value
                for name, value in asdict(row).items()
            }
            for row in audit_rows(masks)
        ],
        "median_seconds": round(median(seconds), 2) if seconds else None,
        "paper": PAPER,
        "note": "Corrections begin with the mask, so agreement is flattered, here as in the paper.",
    }


def _without_nan(interval: dict[str, float]) -> dict[str, float | None]:
    return {name: None if value != value else round(value, 4) for name, value in interval.items()}


def _row(kind: str, group: str, masks: Sequence[AuditedMask], seed: int) -> AuditRow:
    pairs = [mask for mask in masks if mask.iou is not None]

    def of_pairs(value: Callable[[AuditedMask], float]) -> Interval | None:
        return interval_of_mean(pairs, value, seed=seed) if pairs else None

    return AuditRow(
        kind=kind,
        group=group,
        masks=len(masks),
        deleted=len(masks) - len(pairs),
        over_90=of_pairs(lambda mask: (mask.iou or 0) > 0.9),
        over_75=of_pairs(lambda mask: (mask.iou or 0) > 0.75),
        mean_iou=of_pairs(lambda mask: mask.iou or 0),
        mean_boundary_iou=of_pairs(lambda mask: mask.boundary_iou or 0),
        over_90_of_all=interval_of_mean(masks, lambda mask: (mask.iou or 0) > 0.9, seed=seed),
    )


def interval_of_mean(
    masks: Sequence[AuditedMask], value: Callable[[AuditedMask], float], *, seed: int = 0
) -> Interval:
    """The mean over masks with its 95 % interval; images are drawn again, as masks of one image are
    alike. Of a single image the interval is nan."""
    by_image: dict[int, list[float]] = {}
    for mask in masks:
        by_image.setdefault(mask.image_id, []).append(float(value(mask)))
    sums: NDArray[np.float64] = np.array([sum(v) for v in by_image.values()])
    counts: NDArray[np.float64] = np.array([float(len(v)) for v in by_image.values()])
    mean = float(sums.sum() / counts.sum())
    if len(sums) < 2:
        return Interval(mean, float("nan"), float("nan"))
    drawn = np.random.default_rng(seed).integers(len(sums), size=(RESAMPLES, len(sums)))
    low, high = np.quantile(sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1), [0.025, 0.975])
    return Interval(mean, float(low), float(high))


def _size(mask: AuditedMask) -> str:
    names = [name for name in AREAS if name != "all"]
    return next(name for name in names if AREAS[name][0] <= mask.area < AREAS[name][1])


def _score_bin(mask: AuditedMask) -> str:
    if mask.predicted_iou is None:
        return "none"
    low = min(_SCORE_BINS - 1, int(mask.predicted_iou * _SCORE_BINS)) / _SCORE_BINS
    return f"{low:.1f} to {low + 1 / _SCORE_BINS:.1f}"
