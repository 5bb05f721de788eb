"""What the mask generator is told: every parameter with its unit and range, and the presets.

Names and defaults of the published generator's parameters are kept. Figures of the paper:
"Segment Anything", section 4 (fully automatic stage) and appendix B.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from sa_engine.errors import UsageError
from sa_engine.masks.nms import Overlap
from sa_engine.masks.regions import SmallMasks
from sa_engine.model.card import PRED_IOU_THRESH, STABILITY_SCORE_THRESH, ModelCard

PointGrid = tuple[tuple[float, float], ...]
"""Points as (x, y) shares of the width and height, [0, 1]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratorConfig:
    """Parameters of the mask generator.

    points_per_side: points along each side of the grid over the whole image, >= 1.
    points_per_batch: prompts that go through the decoder together, >= 1; by default what suits
        the device. It changes speed and memory only.
    pred_iou_thresh: masks stay if the model predicts an IoU above this, [0, 1]; 0 keeps all.
    stability_score_thresh: masks stay if their stability is at least this, [0, 1]; 0 keeps all.
    stability_score_offset: how far the logits' threshold moves, each way, to measure it; > 0.
    box_nms_thresh: within a crop, of two masks whose boxes have an IoU above this the one with the
        lower predicted IoU goes, [0, 1]; 1 keeps all.
    crop_n_layers: layers of crops besides the whole image, >= 0; layer i has 2^i by 2^i crops.
    crop_nms_thresh: the same between crops; masks of smaller crops win, [0, 1].
    crop_overlap_ratio: overlap of neighbouring crops of the first layer as a share of the image's
        shorter side, [0, 1); it halves with each layer.
    crop_n_points_downscale_factor: each layer has this many times fewer points a side, >= 1.
    point_grids: explicit points, one grid per layer including the whole image, instead
        of the even grids of `points_per_side`, which is None then.
    min_mask_region_area: holes and separate pieces of fewer pixels are removed, >= 0; 0 leaves all.
    small_masks: what becomes of a mask all of whose pieces are that small; the published generator
        keeps its largest piece, the paper drops it.
    max_mask_area_ratio: masks that cover at least this share of the whole image go, (0, 1];
        1 keeps all. The paper has 0.95.
    min_mask_area: masks of fewer pixels (of the full image) are dropped, >= 0.
    max_mask_area: masks of more pixels (of the full image) are dropped, >= 1; without it there
        is no limit.
    mask_nms_thresh: finally, of two masks that overlap by more than this themselves (not only their
        boxes) the one with the lower predicted IoU goes, (0, 1]; 1 keeps all.
    mask_nms_overlap: how that overlap is measured, IoU or containment.
    crops_per_batch: crops that go through the image encoder together, >= 1; by default what
        suits the device. It changes speed and memory only.

    pred_iou_thresh, stability_score_thresh and mask_nms_thresh are those that the model's card
    recommends unless they are given; a card may recommend no mask_nms_thresh, which keeps all.

    Raises UsageError, naming the parameter, for a value outside its range.
    """

    points_per_side: int | None = 32
    points_per_batch: int | None = None
    pred_iou_thresh: float | None = None
    stability_score_thresh: float | None = None
    stability_score_offset: float = 1.0
    box_nms_thresh: float = 0.7
    crop_n_layers: int = 0
    crop_nms_thresh: float = 0.7
    crop_overlap_ratio: float = 512 / 1500
    crop_n_points_downscale_factor: int = 1
    point_grids: tuple[PointGrid, ...] | None = None
    min_mask_region_area: int = 0
    small_masks: SmallMasks = SmallMasks.KEEP_LARGEST
    max_mask_area_ratio: float = 1.0
    min_mask_area: int = 0
    max_mask_area: int | None = None
    mask_nms_thresh: float | None = None
    mask_nms_overlap: Overlap = Overlap.IOU
    crops_per_batch: int | None = None

    def __post_init__(self) -> None:
        for name in (
            "pred_iou_thresh",
            "stability_score_thresh",
            "box_nms_thresh",
            "crop_nms_thresh",
        ):
            value = getattr(self, name)
            _require(value is None or 0 <= value <= 1, name, value, "between 0 and 1")
        for name in ("crop_n_layers", "min_mask_region_area", "min_mask_area"):
            value = getattr(self, name)
            _require(value >= 0, name, value, "0 or more")
        for name in ("points_per_side", "points_per_batch", "max_mask_area", "crops_per_batch"):
            value = getattr(self, name)
            _require(value is None or value >= 1, name, value, "1 or more")
        offset, overlap = self.stability_score_offset, self.crop_overlap_ratio
        _require(offset > 0, "stability_score_offset", offset, "greater than 0")
        _require(0 <= overlap < 1, "crop_overlap_ratio", overlap, "at least 0 and less than 1")
        factor, ratio = self.crop_n_points_downscale_factor, self.max_mask_area_ratio
        _require(factor >= 1, "crop_n_points_downscale_factor", factor, "1 or more")
        _require(0 < ratio <= 1, "max_mask_area_ratio", ratio, "greater than 0 and at most 1")
        thresh = self.mask_nms_thresh
        _require(
            thresh is None or 0 < thresh <= 1,
            "mask_nms_thresh",
            thresh,
            "greater than 0, at most 1",
        )
        if self.max_mask_area is not None and self.max_mask_area < self.min_mask_area:
            raise UsageError(
                f"max_mask_area {self.max_mask_area} is less than min_mask_area "
                f"{self.min_mask_area}: no mask could stay"
            )
        self._check_grids()

    def with_thresholds_of(self, card: ModelCard | None) -> "GeneratorConfig":
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

    def _check_grids(self) -> None:
        layers = self.crop_n_layers + 1
        if self.point_grids is None:
            if self.points_per_side is None:
                raise UsageError("give points_per_side or point_grids")
            last = self.points_per_side // self.crop_n_points_downscale_factor**self.crop_n_layers
            if last < 1:
                raise UsageError(
                    f"points_per_side {self.points_per_side} divided by "
                    f"crop_n_points_downscale_factor {self.crop_n_points_downscale_factor} in each "
                    f"of {self.crop_n_layers} layers leaves no point: use more points, fewer layers"
                )
            return
        if self.points_per_side is not None:
            raise UsageError("points_per_side and point_grids exclude each other: set one to None")
        if len(self.point_grids) != layers:
            raise UsageError(
                f"point_grids has {len(self.point_grids)} grids; crop_n_layers "
                f"{self.crop_n_layers} needs {layers}: one for the whole image and one a layer"
            )
        outside = [p for grid in self.point_grids for p in grid if not 0 <= min(p) <= max(p) <= 1]
        if outside:
            raise UsageError(f"point_grids holds {outside[0]}; coordinates are shares, 0 to 1")


_PUBLISHED = {
    "pred_iou_thresh": PRED_IOU_THRESH,
    "stability_score_thresh": STABILITY_SCORE_THRESH,
}
_KEEPS_ALL = 1.0

PRESETS: Mapping[str, Mapping[str, Any]] = {
    # The plain grid; thresholds as the model's card recommends.
    "default": {},
    # Exactly the published generator's defaults, whatever the model's card recommends.
    "reference": {**_PUBLISHED, "mask_nms_thresh": _KEEPS_ALL},
    # The paper's automatic stage: 32x32 points, 2x2 crops with 16x16, 4x4 crops with 8x8.
    "sa-1b": {
        "crop_n_layers": 2,
        "crop_n_points_downscale_factor": 2,
        "min_mask_region_area": 100,
        "small_masks": SmallMasks.DROP,
        "max_mask_area_ratio": 0.95,
    },
}
"""What each preset sets; all else keeps the default of `GeneratorConfig`."""


def resolve(
    *,
    preset: str = "default",
    recommended: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
) -> GeneratorConfig:
    """The configuration from all that has a say, the later over the earlier.

    In order: the defaults, what the model's card recommends, the preset, the user's own options.

    preset: a name in `PRESETS`.
    recommended: fields that a model card recommends (thresholds); None values are left out.
    options: fields that the user gave, and only those.

    Raises UsageError for an unknown preset or field, or a value outside its range.
    """
    if preset not in PRESETS:
        raise UsageError(f"unknown preset {preset!r}; choose one of {', '.join(PRESETS)}")
    advice = {k: v for k, v in (recommended or {}).items() if v is not None}
    merged: dict[str, Any] = {**advice, **PRESETS[preset], **(options or {})}
    unknown = sorted(merged.keys() - {f.name for f in fields(GeneratorConfig)})
    if unknown:
        raise UsageError(f"the mask generator has no parameter {unknown[0]!r}")
    if merged.get("point_grids") is not None and "points_per_side" not in merged:
        merged["points_per_side"] = None
    return GeneratorConfig(**merged)


def thresholds_of(card: ModelCard | None) -> Mapping[str, float]:
    """What a model's card recommends; for None the published generator's least quality."""
    return _PUBLISHED if card is None else card.recommended()


def decided(name: str, value: float | None) -> float:
    """A threshold as a number. ValueError if it is None: left to a model that was not asked."""
    if value is None:
        raise ValueError(f"{name} was left to the model: call with_thresholds_of(card) first")
    return value


def _require(holds: bool, name: str, value: object, limit: str) -> None:
    if not holds:
        raise UsageError(f"{name} is {value}; it must be {limit}")
