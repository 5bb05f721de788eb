"""What the proposer of stage 2 is told."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from sa_engine.automask.config import decided, thresholds_of
from sa_engine.errors import UsageError
from sa_engine.model.card import ModelCard


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposalConfig:
    """Which boxes prompt the model, and which of its masks are proposed.

    box_score_thresh: boxes prompt if the detector's score is at least this, [0, 1].
    box_nms_thresh: of two boxes with an IoU above this the one with the lower score goes, [0, 1];
        1 keeps all.
    max_boxes: at most so many boxes of an image prompt, the best ones, >= 1.
    pred_iou_thresh: masks stay if the model predicts an IoU above this, [0, 1]; 0 keeps all.
    stability_score_thresh: masks stay if their stability is at least this, [0, 1]; 0 keeps all.
    stability_score_offset: how far the logits' threshold moves, each way, to measure it; > 0.
    box_fit_thresh: masks stay if their own box has at least this IoU with the box that prompted
        them, [0, 1]; 0 keeps all. A mask that leaves its box is of something else.
    min_mask_area: masks of fewer pixels (of the full image) are dropped, >= 0.
    max_mask_area_ratio: masks that cover at least this share of the image go, (0, 1]; 1 keeps all.
    mask_nms_thresh: of two masks with an IoU above this the one with the lower score goes, [0, 1];
        1 keeps all.
    containment_thresh: the same if more than this share of the smaller mask lies in the other,
        [0, 1]; 1 keeps all, so that parts may stand beside their wholes.
    existing_iou_thresh: masks go if their IoU with a mask that is there already is above this,
        [0, 1]; 1 keeps all.
    existing_containment_thresh: masks go if more than this share of them lies in one mask that is
        there already, [0, 1]; 1 keeps all, so that parts of it may be proposed.
    existing_box_thresh: boxes do not prompt if their IoU with the box of a mask that is there
        already is above this, [0, 1]; 1 lets all prompt.

    pred_iou_thresh and stability_score_thresh are those that the model's card recommends unless
    they are given.

    Raises UsageError, naming the parameter, for a value outside its range.
    """

    box_score_thresh: float = 0.3
    box_nms_thresh: float = 0.6
    max_boxes: int = 100
    pred_iou_thresh: float | None = None
    stability_score_thresh: float | None = None
    stability_score_offset: float = 1.0
    box_fit_thresh: float = 0.5
    min_mask_area: int = 16
    max_mask_area_ratio: float = 0.95
    mask_nms_thresh: float = 0.7
    containment_thresh: float = 1.0
    existing_iou_thresh: float = 0.5
    existing_containment_thresh: float = 0.95
    existing_box_thresh: float = 0.8

    def __post_init__(self) -> None:
        for field in fields(self):
            name, value = field.name, getattr(self, field.name)
            if name.endswith("_thresh"):
                _require(value is None or 0 <= value <= 1, name, value, "between 0 and 1")
        offset, ratio = self.stability_score_offset, self.max_mask_area_ratio
        _require(self.max_boxes >= 1, "max_boxes", self.max_boxes, "1 or more")
        _require(self.min_mask_area >= 0, "min_mask_area", self.min_mask_area, "0 or more")
        _require(offset > 0, "stability_score_offset", offset, "greater than 0")
        _require(0 < ratio <= 1, "max_mask_area_ratio", ratio, "greater than 0 and at most 1")

    def with_thresholds_of(self, card: ModelCard | None) -> "ProposalConfig":
        """The same with the thresholds that were left to the model; None: the published ones."""
        left: dict[str, Any] = {
            k: v for k, v in thresholds_of(card).items() if getattr(self, k) is None
        }
        return replace(self, **left)

    @property
    def least_predicted_iou(self) -> float:
        """`pred_iou_thresh` as a number. ValueError if it was left to the model."""
        return decided("pred_iou_thresh", self.pred_iou_thresh)

    @property
    def least_stability(self) -> float:
        """`stability_score_thresh` as a number. ValueError if it was left to the model."""
        return decided("stability_score_thresh", self.stability_score_thresh)


def resolve_proposals(
    *, recommended: Mapping[str, Any], options: Mapping[str, Any]
) -> ProposalConfig:
    """The configuration: the defaults, then what the cards recommend, then the user's own options.

    recommended, options: fields of `ProposalConfig`; None values are left out.
    Raises UsageError for an unknown field or a value outside its range.
    """
    merged = {
        name: value
        for part in (recommended, options)
        for name, value in part.items()
        if value is not None
    }
    unknown = sorted(merged.keys() - {f.name for f in fields(ProposalConfig)})
    if unknown:
        raise UsageError(f"the proposer has no parameter {unknown[0]!r}")
    return ProposalConfig(**merged)


def _require(holds: bool, name: str, value: object, limit: str) -> None:
    if not holds:
        raise UsageError(f"{name} is {value}; it must be {limit}")
