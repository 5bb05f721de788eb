"""How far two runs over the same image agree: two precisions, two devices, two versions."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sa_engine.dataset.records import MaskRecord
from sa_engine.masks import rle as run_lengths

MATCH_IOU = 0.9
"""Two masks with at least this IoU count as the same mask."""


@dataclass(frozen=True, slots=True)
class MaskPair:
    """The same mask in both runs.

    first, second: its position in each run.
    iou: of the two masks, [0, 1].
    predicted_iou_change, stability_change: second minus first; 0 where a run has none.
    """

    first: int
    second: int
    iou: float
    predicted_iou_change: float
    stability_change: float


@dataclass(frozen=True, slots=True)
class Parity:
    """Two runs over one image.

    matches: by position in the first run.
    only_first, only_second: positions of masks without a match.
    """

    matches: tuple[MaskPair, ...]
    only_first: tuple[int, ...]
    only_second: tuple[int, ...]

    @property
    def identical(self) -> bool:
        """Whether both have the same masks, pixel for pixel, in the same order."""
        unmatched = self.only_first or self.only_second
        return not unmatched and all(m.iou == 1.0 and m.first == m.second for m in self.matches)


@dataclass(frozen=True, slots=True, kw_only=True)
class ParitySummary:
    """Two runs over some images.

    images: how many; identical_images: how many with the same masks in the same order.
    masks_first, masks_second: masks in each run.
    matched: pairs of the same mask; the rest is only in one.
    mean_iou, least_iou: over the pairs, [0, 1]; 1 without pairs.
    greatest_score_change: absolute change of a predicted IoU or stability over the pairs.
    """

    images: int
    identical_images: int
    masks_first: int
    masks_second: int
    matched: int
    mean_iou: float
    least_iou: float
    greatest_score_change: float

    @property
    def matched_share(self) -> float:
        """Share of the first run's masks that the second has too, [0, 1]; 1 without masks."""
        return self.matched / self.masks_first if self.masks_first else 1.0

    @property
    def only_first(self) -> int:
        """Masks that only the first run has."""
        return self.masks_first - self.matched

    @property
    def only_second(self) -> int:
        """Masks that only the second run has."""
        return self.masks_second - self.matched


def compare(
    first: Sequence[MaskRecord], second: Sequence[MaskRecord], *, match_iou: float = MATCH_IOU
) -> Parity:
    """Pair the masks of two runs over one image, the best IoU first, each mask once."""
    ious = run_lengths.iou_matrix(
        [record.segmentation for record in first], [record.segmentation for record in second]
    )
    rows, columns = np.nonzero(ious >= match_iou)
    # Of equal IoU the pair at nearly the same position goes first, so that duplicates keep order.
    best_first = np.lexsort((np.abs(rows - columns), -ious[rows, columns]))
    partner: dict[int, int] = {}
    taken: set[int] = set()
    for i in best_first:
        a, b = int(rows[i]), int(columns[i])
        if a not in partner and b not in taken:
            partner[a] = b
            taken.add(b)
    matches = tuple(
        MaskPair(
            a,
            b,
            float(ious[a, b]),
            _change(first[a].predicted_iou, second[b].predicted_iou),
            _change(first[a].stability_score, second[b].stability_score),
        )
        for a, b in sorted(partner.items())
    )
    return Parity(
        matches,
        tuple(a for a in range(len(first)) if a not in partner),
        tuple(b for b in range(len(second)) if b not in taken),
    )


def summarise(parities: Sequence[Parity]) -> ParitySummary:
    """Add up comparisons over images."""
    matches = [match for parity in parities for match in parity.matches]
    ious = [match.iou for match in matches]
    changes = [
        abs(change) for m in matches for change in (m.predicted_iou_change, m.stability_change)
    ]
    return ParitySummary(
        images=len(parities),
        identical_images=sum(parity.identical for parity in parities),
        masks_first=sum(len(p.matches) + len(p.only_first) for p in parities),
        masks_second=sum(len(p.matches) + len(p.only_second) for p in parities),
        matched=len(matches),
        mean_iou=float(np.mean(ious)) if ious else 1.0,
        least_iou=min(ious, default=1.0),
        greatest_score_change=max(changes, default=0.0),
    )


def _change(before: float | None, after: float | None) -> float:
    return 0.0 if before is None or after is None else after - before
