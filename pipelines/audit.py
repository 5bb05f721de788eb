"""What an audit says of a dataset's masks: how far people had to change them.

Source: "Segment Anything", section 5 ("Mask quality"): people improved all masks of 500 images, and
94 % of the pairs had over 0.90 IoU, 97 % over 0.75.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sa_engine.dataset.reader import Dataset
from sa_engine.dataset.records import ImageStatus, MaskRecord

PAPER = {"over_0.90": 0.94, "over_0.75": 0.97}
_RESAMPLES = 2000
_SMALL, _MEDIUM = 32 * 32, 96 * 96


@dataclass(frozen=True, slots=True)
class AuditedPair:
    """A mask before and after. iou: of the two; None where there was no object."""

    image: int
    mask: MaskRecord
    iou: float | None


def audited_pairs(
    corrected: Path | str, audited: Path | str
) -> tuple[list[AuditedPair], list[float]]:
    """Every mask of the audited images with what became of it, and seconds of those that were
    looked at."""
    after, before = Dataset(corrected), Dataset(audited)
    by_name: dict[str, int] = {}
    for record in before.images(status=ImageStatus.OK):
        by_name[record.file_name] = record.image_id
    pairs: list[AuditedPair] = []
    seconds: list[float] = []
    for record in after.images(status=ImageStatus.OK):
        source = before.record(by_name[record.source.rpartition("!")[2]])
        masks = {source.mask_id(place): mask for place, mask in enumerate(source.annotations)}
        for mask in record.annotations:
            said = mask.attributes.get("proposal", {})
            if "id" in said and said["id"] in masks:
                pairs.append(
                    AuditedPair(record.image_id, masks.pop(said["id"]), float(said["iou"]))
                )
                if mask.time_spent_s is not None:
                    seconds.append(mask.time_spent_s)
        deleted = record.attributes.get("proposals", {}).get("deleted", ())
        for number in deleted:
            if number in masks:
                pairs.append(AuditedPair(record.image_id, masks.pop(number), None))
    return pairs, seconds


def audit_report(corrected: Path | str, audited: Path | str) -> dict[str, Any]:
    """The figures of audit.json.

    Intervals are of 95 %, by resampling images: masks of one image are alike. Masks that are no
    object are counted twice, left out and as an IoU of 0: the paper does not say which it did.
    """
    pairs, seconds = audited_pairs(corrected, audited)
    return {
        "images": len({pair.image for pair in pairs}),
        "masks": len(pairs),
        "no_object": sum(pair.iou is None for pair in pairs),
        "unchanged": sum(pair.iou is not None and pair.iou >= 0.98 for pair in pairs),
        "left_out": figures([pair for pair in pairs if pair.iou is not None]),
        "as_zero": figures(pairs),
        "by_size": _by(pairs, _size),
        "by_stage": _by(pairs, lambda pair: pair.mask.stage.value),
        "by_predicted_iou": _by(pairs, _predicted),
        "seconds_per_mask": round(median(seconds), 2) if seconds else None,
        "paper": PAPER,
        "note": "Corrections begin with the mask, so agreement is flattered, here as in the paper.",
    }


def figures(pairs: Sequence[AuditedPair]) -> dict[str, Any]:
    """Shares over 0.90 and 0.75 and the mean IoU, each with its interval; {} of no pairs."""
    if not pairs:
        return {}
    groups: dict[int, list[float]] = {}
    for pair in pairs:
        groups.setdefault(pair.image, []).append(pair.iou or 0.0)
    ious = [np.array(each) for each in groups.values()]
    measures: Mapping[str, Callable[[NDArray[np.float64]], float]] = {
        "over_0.90": lambda each: float((each > 0.90).sum()),
        "over_0.75": lambda each: float((each > 0.75).sum()),
        "mean_iou": lambda each: float(each.sum()),
    }
    return {name: _interval(ious, measure) for name, measure in measures.items()}


def _interval(
    ious: Sequence[NDArray[np.float64]], total: Callable[[NDArray[np.float64]], float]
) -> dict[str, float]:
    sums = np.array([total(each) for each in ious])
    counts = np.array([len(each) for each in ious])
    draw = np.random.default_rng(0).integers(len(ious), size=(_RESAMPLES, len(ious)))
    resampled = sums[draw].sum(axis=1) / counts[draw].sum(axis=1)
    low, high = np.percentile(resampled, [2.5, 97.5])
    value = float(sums.sum() / counts.sum())
    return {"value": round(value, 4), "low": round(float(low), 4), "high": round(float(high), 4)}


def _by(pairs: Iterable[AuditedPair], key: Callable[[AuditedPair], str]) -> dict[str, Any]:
    groups: dict[str, list[AuditedPair]] = {}
    for pair in pairs:
        groups.setdefault(key(pair), []).append(pair)
    return {name: {"masks": len(groups[name]), **figures(groups[name])} for name in sorted(groups)}


def _size(pair: AuditedPair) -> str:
    area = pair.mask.area
    return "small" if area < _SMALL else "medium" if area < _MEDIUM else "large"


def _predicted(pair: AuditedPair) -> str:
    said = pair.mask.predicted_iou
    if said is None:
        return "unknown"
    low = min(9, int(said * 10)) / 10
    return f"{low:.1f}-{low + 0.1:.1f}"
