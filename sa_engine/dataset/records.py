"""The records that cross files: what is known of one mask and of one image.

Schema: SA-1B's annotation JSON ("Segment Anything", dataset card), with `stage` and further known
fields added. Boxes are COCO's everywhere: (x, y, width, height) with width = last − first + 1.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from sa_engine.masks.rle import Mask, Rle, decode

MASK_IDS_PER_IMAGE = 1_000_000
"""Mask ids are `image_id * MASK_IDS_PER_IMAGE + position`, position from 1: unique across shards
whatever order the shards are made in, and exact in JSON readers that hold numbers as doubles."""


class Stage(StrEnum):
    """The data engine's stage that made a mask (paper, section 4)."""

    MANUAL = "manual"
    SEMI_AUTOMATIC = "semi-automatic"
    AUTOMATIC = "automatic"


class ImageStatus(StrEnum):
    """Whether an image went through."""

    OK = "ok"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskRecord:
    """One mask and where it came from.

    segmentation: the mask at the size of the stored image.
    bbox_xywh: COCO's box of the mask, pixels.
    area: foreground pixels.
    stage: the stage that made it.
    predicted_iou: the model's estimate of its IoU, [0, 1]; None for masks that people made.
    stability_score: IoU of the mask between two thresholds, [0, 1]; None for masks of people.
    crop_box_xywh: the crop that it was found in, pixels; the whole image for masks of people.
    point_coords_xy: the point prompts that gave it, pixels; empty for masks of people.
    prompt_box_xywh: the box prompt that gave it, pixels, if one did.
    box_score: the detector's confidence in that box, [0, 1].
    category: the source's own class name.
    annotator: who drew it, as the source names them.
    time_spent_s: seconds that it took a person.
    iscrowd: the source marks a group rather than one object.
    attributes: JSON values of the source that have no field here.
    """

    segmentation: Rle
    bbox_xywh: tuple[float, float, float, float]
    area: int
    stage: Stage
    predicted_iou: float | None = None
    stability_score: float | None = None
    crop_box_xywh: tuple[float, float, float, float]
    point_coords_xy: tuple[tuple[float, float], ...] = ()
    prompt_box_xywh: tuple[float, float, float, float] | None = None
    box_score: float | None = None
    category: str | None = None
    annotator: str | None = None
    time_spent_s: float | None = None
    iscrowd: bool = False
    attributes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def mask(self) -> Mask:
        """The mask's pixels, (H, W) bool, decoded each time that it is asked for."""
        return decode(self.segmentation)

    def as_dict(self) -> dict[str, Any]:
        """The mask under the published generator's keys, its pixels as (H, W) bool.

        "segmentation", "area", "bbox" (COCO's x, y, width, height), "predicted_iou",
        "point_coords" (a list of [x, y]), "stability_score" and "crop_box".
        """
        return {
            "segmentation": self.mask,
            "area": self.area,
            "bbox": list(self.bbox_xywh),
            "predicted_iou": self.predicted_iou,
            "point_coords": [list(point) for point in self.point_coords_xy],
            "stability_score": self.stability_score,
            "crop_box": list(self.crop_box_xywh),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRecord:
    """One image of the input list, done or failed.

    image_id: position in the frozen input list, from 1.
    file_name: its member name in the shard, "sa_<id>.<ext>"; "" if it failed.
    source: where it came from, as listed: a path, or "archive.tar!member".
    width, height: size of the stored, upright image in pixels; 0 if it failed.
    sha256: hex digest of the source's bytes; "" if they could not be read.
    status, error: whether it went through, and "reason: message" if not.
    annotations: its masks; mask ids follow from their order (MASK_IDS_PER_IMAGE).
    attributes: JSON values of the source that have no field here.
    """

    image_id: int
    file_name: str
    source: str
    width: int
    height: int
    sha256: str
    status: ImageStatus = ImageStatus.OK
    error: str | None = None
    annotations: tuple[MaskRecord, ...] = ()
    attributes: Mapping[str, Any] = field(default_factory=dict)

    def mask_id(self, position: int) -> int:
        """The id of the annotation at `position` (from 0)."""
        return self.image_id * MASK_IDS_PER_IMAGE + position + 1

    def storable(self) -> "ImageRecord":
        """The record with text that UTF-8 can hold; other code points are spelled \\uNNNN.

        Raises ValueError if it has more masks than there are mask ids.
        """
        if len(self.annotations) >= MASK_IDS_PER_IMAGE:
            raise ValueError(f"{len(self.annotations)} masks, limit {MASK_IDS_PER_IMAGE - 1}")
        masks = self.annotations
        if any(mask.category != _plain(mask.category) for mask in masks) or any(
            mask.annotator != _plain(mask.annotator) for mask in masks
        ):
            masks = tuple(
                replace(mask, category=_plain(mask.category), annotator=_plain(mask.annotator))
                for mask in masks
            )
        source, error = _plain(self.source) or "", _plain(self.error)
        return replace(self, source=source, error=error, annotations=masks)


def _plain(text: str | None) -> str | None:
    if text is None or text.isascii():
        return text
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
