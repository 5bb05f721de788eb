"""What is known of a set of weights, kept inside their file."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from sa_engine.errors import CheckpointError
from sa_engine.version import __version__

CARD_KEY = "sa_engine_card"
"""Of the metadata entry of a weights file that holds the card."""

PRED_IOU_THRESH = 0.88
STABILITY_SCORE_THRESH = 0.95
MOST_IMAGE_SIZE = 8192
"""Largest input side, pixels: a card that says more is forged or damaged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCard:
    """Where weights come from and how to use them.

    name: what users call the model.
    variant: its image encoder, one of `variants.VARIANTS`.
    image_size: side of the model's square input, pixels.
    data: what it was trained on, a line per source.
    options: the training's options, JSON values.
    results: measured figures by protocol, JSON values.
    pred_iou_thresh: recommended least predicted IoU for automatic masks, [0, 1].
    stability_score_thresh: recommended least stability for automatic masks, [0, 1].
    mask_nms_thresh: recommended largest IoU of two automatic masks, (0, 1]; None for no such limit.
    engine_version: the engine that wrote the file; "" if another program did.
    """

    name: str
    variant: str
    image_size: int
    data: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    results: Mapping[str, Any] = field(default_factory=dict)
    pred_iou_thresh: float = PRED_IOU_THRESH
    stability_score_thresh: float = STABILITY_SCORE_THRESH
    mask_nms_thresh: float | None = None
    engine_version: str = __version__

    def least_quality(self) -> dict[str, float]:
        """The least predicted IoU and stability that the card recommends, by parameters' names."""
        return {
            "pred_iou_thresh": self.pred_iou_thresh,
            "stability_score_thresh": self.stability_score_thresh,
        }

    def recommended(self) -> dict[str, float]:
        """What the card recommends for everything mode, by the parameters' names."""
        if self.mask_nms_thresh is None:
            return self.least_quality()
        return self.least_quality() | {"mask_nms_thresh": self.mask_nms_thresh}

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not isinstance(self.variant, str):
            raise ValueError("its name and its variant must be text")
        if type(self.image_size) is not int or not 16 <= self.image_size <= MOST_IMAGE_SIZE:
            raise ValueError(
                f"image_size is {self.image_size!r}; it must be from 16 to {MOST_IMAGE_SIZE}"
            )
        for label in ("pred_iou_thresh", "stability_score_thresh"):
            value = getattr(self, label)
            if not 0.0 <= value <= 1.0:
                raise ValueError(f"{label} is {value}; it must be from 0 to 1")
        limit = self.mask_nms_thresh
        if limit is not None and not 0.0 < limit <= 1.0:
            raise ValueError(f"mask_nms_thresh is {limit}; it must be over 0 and at most 1")

    def to_json(self) -> str:
        """One line with sorted keys: the same card, the same bytes."""
        return json.dumps(asdict(self), sort_keys=True, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> "ModelCard":
        """Undo `to_json`. Fields of a newer engine are passed over.

        Raises CheckpointError if the text is not a card.
        """
        try:
            values = json.loads(text)
            known = {f.name: values[f.name] for f in fields(cls) if f.name in values}
            known["data"] = tuple(known.get("data", ()))
            return cls(**known)
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise CheckpointError(f"the model card is damaged: {error}") from error
