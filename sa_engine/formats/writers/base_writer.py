"""What every export shares: which masks go out, under which names, and what they lose."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from sa_engine.dataset.records import ImageRecord, MaskRecord, Stage
from sa_engine.errors import UsageError
from sa_engine.formats.base import Box
from sa_engine.formats.codecs import geometry
from sa_engine.formats.fields import text
from sa_engine.formats.reasons import Lossy, Note, Tally

_OF_IMAGES = frozenset(
    {"source_id", "file_name", "import", "boxes", "reading", "proposals", "width", "height"}
)

NOT_OF_SOURCE = frozenset({"source_id", "category_id", "import", "boxes", "reading"})
"""Attributes that are not written as further fields: ids, and what the engine notes down."""

UNCATEGORISED = "object"
"""The category of masks without one, in formats that demand one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedBox:
    """A box without a mask on its way out.

    box_id: a number that no mask of the dataset has.
    attributes: JSON values that have no field here.
    """

    box_id: int
    box_xywh: Box
    category: str | None = None
    annotator: str | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which masks are written.

    min_area: pixels, from 0.
    min_iou: least predicted IoU, [0, 1]; masks of people have none and always pass.
    stages: of these stages only; empty for all.
    """

    min_area: int = 0
    min_iou: float = 0.0
    stages: frozenset[Stage] = frozenset()

    def __post_init__(self) -> None:
        if self.min_area < 0:
            raise UsageError(f"the least area must be 0 or more, not {self.min_area}")
        if not 0 <= self.min_iou <= 1:
            raise UsageError(f"the least predicted IoU must be from 0 to 1, not {self.min_iou}")

    def passes(self, mask: MaskRecord) -> bool:
        """Whether a mask is written."""
        if mask.area < self.min_area or (self.stages and mask.stage not in self.stages):
            return False
        return mask.predicted_iou is None or mask.predicted_iou >= self.min_iou

    def passes_box(self, box: ExportedBox) -> bool:
        """Whether a box without a mask is written: people draw them."""
        _, _, width, height = box.box_xywh
        is_wanted = not self.stages or Stage.MANUAL in self.stages
        return is_wanted and width * height >= self.min_area

    def apply(self, record: ImageRecord) -> ImageRecord:
        """The record with the masks that pass."""
        kept = tuple(mask for mask in record.annotations if self.passes(mask))
        return record if len(kept) == len(record.annotations) else replace(record, annotations=kept)


@dataclass(frozen=True, slots=True)
class ExportedImage:
    """An image on its way out.

    record: with the masks that are written.
    name: its path in the export, with folders and ending; unique even without its ending.
    mask_ids: the engine's id of each mask.
    boxes: those that have no mask.
    load: gives the file's bytes; None if the dataset does not hold it or images are left out.
    """

    record: ImageRecord
    name: str
    mask_ids: tuple[int, ...]
    boxes: tuple[ExportedBox, ...] = ()
    load: Callable[[], bytes] | None = None


class Writer(Protocol):
    """One format's way out. Made with a folder to write to, then fed image by image."""

    def add(self, image: ExportedImage, losses: Tally) -> None:
        """Write an image; what its masks lose is counted in `losses`."""
        ...

    def finish(self) -> None:
        """Write what could only be written last."""
        ...


def boxes_of(record: ImageRecord) -> tuple[ExportedBox, ...]:
    """An image's boxes without a mask, as an import keeps them among its attributes."""
    given = record.attributes.get("boxes")
    found: list[ExportedBox] = []
    for each in given if isinstance(given, list) else ():
        box = geometry.box(each.get("bbox") or ()) if isinstance(each, dict) else None
        if box is None:
            continue
        known = ("bbox", "category", "annotator")
        found.append(
            ExportedBox(
                box_id=record.mask_id(len(record.annotations) + len(found)),
                box_xywh=box,
                category=text(each.get("category")),
                annotator=text(each.get("annotator")),
                attributes={key: value for key, value in each.items() if key not in known},
            )
        )
    return tuple(found)


def count_boxes(image: ExportedImage, losses: Tally) -> None:
    """Count the boxes of an image as lost."""
    for box in image.boxes:
        losses.add(Note(Lossy.NO_BOX, f"box {box.box_id}"))


def count_image_details(image: ExportedImage, losses: Tally) -> None:
    """Count an image's further fields as lost, if it has any."""
    if image_details(image.record):
        losses.add(Note(Lossy.NO_IMAGE_DETAILS, image.name, of_images=True))


def image_details(record: ImageRecord) -> dict[str, Any]:
    """What is known of an image beyond its name, size, masks and boxes."""
    return {k: v for k, v in record.attributes.items() if k not in _OF_IMAGES and v not in ({}, [])}


def is_proposed(mask: MaskRecord) -> bool:
    """Whether a model made a mask that nobody has taken over or changed yet."""
    return mask.stage is not Stage.MANUAL and "proposal" not in mask.attributes


def with_suffix(name: str, suffix: str) -> str:
    """A file's name with another suffix, which is given without its dot."""
    return name.rpartition(".")[0] + "." + suffix


def write_file(path: Path, data: bytes) -> None:
    """Write a file in a folder that may not be there yet."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def details(mask: MaskRecord, mask_id: int | None = None) -> dict[str, Any]:
    """What is known of a mask beyond its pixels and category, as `engine_fields` reads it.

    mask_id: given, a proposal says it too, so that a corrected file can be held against it.
    """
    found: dict[str, Any] = {}
    if mask.annotator is not None:
        found["annotator"] = mask.annotator
    if mask.time_spent_s is not None:
        found["time_spent_s"] = mask.time_spent_s
    if mask.stage is not Stage.MANUAL or mask.predicted_iou is not None or mask.point_coords_xy:
        found |= {
            "stage": mask.stage.value,
            "predicted_iou": mask.predicted_iou,
            "stability_score": mask.stability_score,
            "crop_box": list(mask.crop_box_xywh),
            "point_coords": [list(point) for point in mask.point_coords_xy],
        }
        if mask.prompt_box_xywh is not None:
            found["prompt_box"] = list(mask.prompt_box_xywh)
        if mask.box_score is not None:
            found["box_score"] = mask.box_score
        if mask_id is not None and mask.stage is Stage.SEMI_AUTOMATIC:
            found["proposal_id"] = mask_id
    return found


def has_details(mask: MaskRecord) -> bool:
    """Whether something is known of a mask that a format of bare masks drops."""
    known = mask.attributes.keys() - {"source_id", "category_id", "object", "region"}
    return bool(details(mask) or known or mask.iscrowd)
