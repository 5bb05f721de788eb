"""From what a source says of an image to the engine's mask records."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeGuard

from sa_engine.dataset.records import MaskRecord
from sa_engine.formats.base import (
    AnnotationSource,
    Box,
    ImportedBox,
    ImportedImage,
    ImportedMask,
)
from sa_engine.formats.fields import number
from sa_engine.formats.frames import Frame, Orientation, frame_of, turn_box, turn_mask
from sa_engine.formats.joined import JoinedSource
from sa_engine.formats.readers.coco import CocoSource
from sa_engine.formats.reasons import Beside, Loss, Note, Repair, Tally
from sa_engine.masks import rle

PROPOSAL_ID = "proposal_id"
"""Attribute of a mask that came back from an annotation tool: the proposal it was exported as."""

KEY_POINTS = "keypoints"
"""Attribute of a mask or a box: its key points, as COCO writes them."""

_FRAME_REPAIRS = {
    Frame.STORED: Repair.TURNED_UPRIGHT,
    Frame.SWAPPED: Repair.SIZE_SWAPPED,
    Frame.STRETCHED: Repair.STRETCHED,
}
_STRANGE = frozenset({Repair.CLIPPED, Loss.RLE_SIZE, Loss.EMPTY, Loss.IMAGE_SIZE})
"""What annotations show when they are drawn in a frame that is not theirs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Converted:
    """The records of one image.

    boxes: those without a mask, in the upright picture.
    repaired, dropped: notes on its annotations.
    beside: notes on what is kept beside the masks.
    frame: the frame that the annotations were in.
    exif: the picture's EXIF orientation, 1..8.
    attributes: of the image, as the source has them.
    num_segmented: boxes that a model made masks of.
    """

    masks: tuple[MaskRecord, ...]
    boxes: tuple[ImportedBox, ...]
    repaired: tuple[Note, ...]
    dropped: tuple[Note, ...]
    frame: Frame
    exif: int
    attributes: Mapping[str, Any]
    beside: tuple[Note, ...] = ()
    num_segmented: int = 0

    def image_attributes(self) -> dict[str, Any]:
        """The source's attributes, boxes that have no mask, and what import did to the image."""
        said: dict[str, Any] = {}
        if self.repaired:
            said["repaired"] = Tally(self.repaired).to_json()
        if self.dropped:
            said["dropped"] = Tally(self.dropped).to_json()
        if self.beside:
            said["beside"] = Tally(self.beside).to_json()
        if self.boxes:
            said["boxes"] = len(self.boxes)
        if self.num_segmented:
            said["boxes_segmented"] = self.num_segmented
        if self.frame is not Frame.UPRIGHT or self.exif != 1:
            said["frame"] = self.frame.value
        if self.exif != 1:
            said["exif_orientation"] = self.exif
        attributes = dict(self.attributes)
        if self.boxes:
            attributes["boxes"] = [_box_json(box) for box in self.boxes]
        return {**attributes, "import": said} if said else attributes


def with_masks_from_boxes(converted: Converted, found: Sequence[ImportedMask | Note]) -> Converted:
    """The same image with masks, or notes of failure, in place of its boxes."""
    masks = tuple(each for each in found if isinstance(each, ImportedMask))
    notes = tuple(each for each in found if isinstance(each, Note))
    return replace(
        converted,
        masks=(*converted.masks, *to_records(masks)),
        boxes=(),
        dropped=(*converted.dropped, *notes),
        num_segmented=len(masks),
    )


def convert(
    source: AnnotationSource,
    indices: Iterable[int],
    picture: Orientation,
    *,
    ignores_exif: bool = False,
) -> Converted:
    """The annotations of one picture, upright.

    indices: the places of the picture in the source; more than one if it is listed repeatedly.
    ignores_exif: whether other pictures tell that the source's tool does not turn pictures.
    """
    parts = [_convert_one(source, index, picture, ignores_exif) for index in indices]
    if len(parts) == 1:
        return parts[0]
    attributes: dict[str, Any] = {}
    for part in reversed(parts):
        attributes |= part.attributes
    return Converted(
        masks=tuple(mask for part in parts for mask in part.masks),
        boxes=tuple(box for part in parts for box in part.boxes),
        repaired=tuple(note for part in parts for note in part.repaired),
        dropped=tuple(note for part in parts for note in part.dropped),
        beside=tuple(note for part in parts for note in part.beside),
        frame=next((p.frame for p in parts if p.frame is not Frame.UPRIGHT), Frame.UPRIGHT),
        exif=picture.exif,
        attributes=attributes,
    )


def _convert_one(
    source: AnnotationSource, index: int, picture: Orientation, ignores_exif: bool
) -> Converted:
    file_name = source.images[index].file_name
    declared_hw = source.size_hw(index)
    frame, image = _read(source, index, picture, ignores_exif)
    size_hw = picture.stored_hw if frame is Frame.STORED else picture.upright_hw
    fits = frame is not Frame.SWAPPED or not _is_strange(image)
    if frame is Frame.OTHER or not fits:
        # The picture is another one, or was resized since: the masks would lie in wrong places.
        count = source.count(index)
        what = f"{file_name}: made for {_text(declared_hw)}, is {_text(size_hw)}"
        image = ImportedImage(
            notes=(Note(Loss.IMAGE_SIZE, what, count),) if count else (),
            attributes=image.attributes,
        )
    note = _FRAME_REPAIRS.get(frame)
    masks, boxes = image.masks, image.boxes
    if note is not None:
        masks = tuple(replace(mask, repairs=(*mask.repairs, note)) for mask in masks)
    if frame is Frame.STORED:
        masks = tuple(_turned(mask, picture) for mask in masks)
        boxes = tuple(_turned_box(box, picture, size_hw) for box in boxes)
    notes = [
        *image.notes,
        *(Note(repair, mask.name) for mask in masks for repair in mask.repairs),
        *_key_point_notes((*masks, *boxes)),
    ]
    return Converted(
        masks=to_records(masks),
        boxes=boxes,
        repaired=tuple(_named(n, file_name) for n in notes if isinstance(n.reason, Repair)),
        dropped=tuple(_named(n, file_name) for n in notes if isinstance(n.reason, Loss)),
        beside=tuple(_named(n, file_name) for n in notes if isinstance(n.reason, Beside)),
        frame=frame,
        exif=picture.exif,
        attributes=image.attributes,
    )


def _read(
    source: AnnotationSource, index: int, picture: Orientation, ignores_exif: bool
) -> tuple[Frame, ImportedImage]:
    """The annotations of an image, and the frame that they were drawn in."""
    declared_hw = source.size_hw(index)
    frame = frame_of(declared_hw, picture, ignores_exif=ignores_exif)
    if frame is not Frame.STORED:
        return frame, source.read(index, picture.upright_hw)
    if picture.is_quarter_turned and is_stretched(source, index):
        return Frame.STRETCHED, source.read_stretched(index, picture.upright_hw)
    image = source.read(index, picture.stored_hw)
    if picture.is_quarter_turned and declared_hw is not None and _is_strange(image):
        # What does not fit the stored picture, and does the upright one, was drawn on that.
        upright = source.read(index, picture.upright_hw)
        if not _is_strange(upright):
            return Frame.SWAPPED, upright
    return frame, image


def is_stretched(source: AnnotationSource, index: int) -> TypeGuard[CocoSource | JoinedSource]:
    """Whether the tool of an image's file stretches what was drawn on a turned picture."""
    return isinstance(source, CocoSource | JoinedSource) and source.is_stretched(index)


def to_records(masks: tuple[ImportedMask, ...]) -> tuple[MaskRecord, ...]:
    """Engine records, with area and box measured on the masks."""
    segmentations = [mask.segmentation for mask in masks]
    areas, boxes = rle.areas(segmentations), rle.boxes_xywh(segmentations)
    return tuple(
        _record(mask, area, box) for mask, area, box in zip(masks, areas, boxes, strict=True)
    )


def _record(mask: ImportedMask, area: int, bbox_xywh: Box) -> MaskRecord:
    height, width = mask.segmentation.size_hw
    attributes = mask.attributes
    if mask.proposal_id is not None:
        attributes = {**attributes, PROPOSAL_ID: mask.proposal_id}
    if mask.repairs:
        attributes = {**attributes, "repaired": [repair.value for repair in mask.repairs]}
    return MaskRecord(
        segmentation=mask.segmentation,
        bbox_xywh=bbox_xywh,
        area=area,
        stage=mask.stage,
        predicted_iou=mask.predicted_iou,
        stability_score=mask.stability_score,
        crop_box_xywh=mask.crop_box_xywh or (0.0, 0.0, float(width), float(height)),
        point_coords_xy=mask.point_coords_xy,
        prompt_box_xywh=mask.prompt_box_xywh,
        box_score=mask.box_score,
        category=mask.category,
        annotator=mask.annotator,
        time_spent_s=mask.time_spent_s,
        iscrowd=mask.iscrowd,
        attributes=attributes,
    )


def _box_json(box: ImportedBox) -> dict[str, Any]:
    known = {"bbox": list(box.box_xywh), "category": box.category, "annotator": box.annotator}
    return {**box.attributes, **{key: value for key, value in known.items() if value is not None}}


def _turned(mask: ImportedMask, picture: Orientation) -> ImportedMask:
    # Prompts and crops were places in the stored picture; they are of no use in the upright one.
    return replace(
        mask,
        segmentation=turn_mask(mask.segmentation, picture.exif),
        crop_box_xywh=None,
        point_coords_xy=(),
        prompt_box_xywh=None,
        attributes=_turned_points(mask.attributes, picture, picture.stored_hw),
    )


def _turned_box(box: ImportedBox, picture: Orientation, size_hw: tuple[int, int]) -> ImportedBox:
    return replace(
        box,
        box_xywh=turn_box(box.box_xywh, picture.exif, size_hw),
        attributes=_turned_points(box.attributes, picture, size_hw),
    )


def _turned_points(
    attributes: Mapping[str, Any], picture: Orientation, size_hw: tuple[int, int]
) -> Mapping[str, Any]:
    """Attributes with COCO's key points turned: x, y, visibility of each, in whole pixels."""
    points = _key_points(attributes)
    if not points:
        return attributes
    turned: list[Any] = []
    for x, y, visibility in points:
        if visibility:
            # A point is the pixel of that number, so it turns as a box of one pixel does.
            x, y, _, _ = turn_box((x, y, 1, 1), picture.exif, size_hw)
        turned += [x, y, visibility]
    return {**attributes, KEY_POINTS: turned}


def _key_points(attributes: Mapping[str, Any]) -> list[tuple[Any, Any, Any]]:
    """(x, y, visibility) of COCO's key points; empty if there are none or they are damaged."""
    given = attributes.get(KEY_POINTS)
    if not isinstance(given, list) or len(given) % 3 or any(number(v) is None for v in given):
        return []
    return list(zip(given[0::3], given[1::3], given[2::3], strict=True))


def _key_point_notes(regions: Iterable[ImportedMask | ImportedBox]) -> list[Note]:
    return [
        Note(Beside.KEY_POINTS, region.name, count)
        for region in regions
        if (count := sum(v > 0 for _, _, v in _key_points(region.attributes)))
    ]


def _is_strange(image: ImportedImage) -> bool:
    reasons = {note.reason for note in image.notes}
    reasons.update(repair for mask in image.masks for repair in mask.repairs)
    return bool(reasons & _STRANGE)


def _named(note: Note, file_name: str) -> Note:
    return (
        note if note.what.startswith(file_name) else replace(note, what=f"{file_name}: {note.what}")
    )


def _text(size_hw: tuple[int, int] | None) -> str:
    return "unknown" if size_hw is None else f"{size_hw[1]}x{size_hw[0]}"
