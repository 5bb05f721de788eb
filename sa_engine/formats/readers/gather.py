"""The annotations of one image, gathered one by one and filled together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sa_engine.formats.base import (
    Box,
    ImportedBox,
    ImportedImage,
    ImportedMask,
)
from sa_engine.formats.codecs import geometry
from sa_engine.formats.codecs.geometry import Mended, Shape
from sa_engine.formats.fields import number
from sa_engine.formats.reasons import Beside, Loss, Note, Repair
from sa_engine.masks.rle import Rle, boxes_xywh, union
from sa_engine.masks.rle import areas as areas_of

Fields = Mapping[str, Any]
"""Fields of `ImportedMask` but its segmentation; "name" among them."""


@dataclass(frozen=True, slots=True)
class BoxPiece:
    """A box, (x, y, width, height) in pixels, of an object that may have a mask; None if it is
    damaged."""

    box_xywh: Box | None


@dataclass(frozen=True, slots=True)
class Stated:
    """What a record says of its own mask: COCO's box and the area, pixels; None if it does not."""

    box_xywh: Box | None
    area: float | None

    def disagreements(self, mask: ImportedMask, box_xywh: Box, area: int) -> tuple[Repair, ...]:
        """What of it is not so of the mask, whose box and area are given.

        A polygon's box and area differ from its pixels' by a rim of a pixel; a mask that was cut at
        the image's border says nothing.
        """
        if Repair.CLIPPED in mask.repairs:
            return ()
        found = []
        _, _, width, height = box_xywh
        if self.box_xywh is not None:
            ends = zip(_corners(self.box_xywh), _corners(box_xywh), strict=True)
            if max(abs(ours - theirs) for ours, theirs in ends) > 2 + 0.02 * max(width, height):
                found.append(Repair.BOX_DIFFERS)
        if self.area is not None:
            rim = 2 * (width + height)
            if abs(self.area - area) > rim + 0.1 * max(self.area, area):
                found.append(Repair.AREA_DIFFERS)
        return tuple(found)


def stated_of(record: Mapping[str, Any]) -> Stated:
    """The `bbox` and the `area` of a record of COCO, SA-1B or Datumaro."""
    given, area = record.get("bbox"), number(record.get("area"))
    box = geometry.box(given) if isinstance(given, list) else None
    return Stated(box, area if area else None)


def _corners(box_xywh: Box) -> Box:
    x, y, width, height = box_xywh
    return x, y, x + width, y + height


Piece = Shape | Mended | BoxPiece | Loss
"""A region: a shape that is yet to be filled, a mask, a box, or why there is none of these."""


@dataclass(frozen=True, slots=True)
class _Entry:
    fields: Fields
    pieces: Sequence[Piece]
    stated: Stated | None


class Gatherer:
    """Takes the annotations of one picture of (height, width) pixels.

    Each piece that is given comes out: in a mask, as a box, or as a loss.
    """

    def __init__(self, size_hw: tuple[int, int]) -> None:
        self.size_hw = size_hw
        self._entries: list[_Entry] = []
        self._notes: list[Note] = []

    def add(self, fields: Fields, *pieces: Piece, stated: Stated | None = None) -> None:
        """One object: its mask is the union of its pieces; those that are lost leave the others.

        Boxes are the mask's own if there is a mask, and boxes without a mask otherwise.
        stated: what the record says of its mask; where that is not so, the mask gets a note.
        """
        self._entries.append(_Entry(fields, pieces, stated))

    def add_box(self, fields: Fields, box_xywh: Box | None) -> None:
        """A box without a mask; None if it is damaged."""
        self.add(fields, BoxPiece(box_xywh))

    def lose(self, loss: Loss, name: str, count: int = 1) -> None:
        """Regions that cannot be taken."""
        if count:
            self._notes.append(Note(loss, name, count))

    def note(self, beside: Beside, name: str, count: int) -> None:
        """What is kept beside the regions."""
        if count:
            self._notes.append(Note(beside, name, count))

    def finish(self, attributes: Mapping[str, Any] | None = None) -> ImportedImage:
        """Everything that was taken. attributes: of the image."""
        shapes = [p for entry in self._entries for p in entry.pieces if isinstance(p, Shape)]
        filled = iter(geometry.fill(shapes, self.size_hw))
        masks: list[ImportedMask] = []
        boxes: list[ImportedBox] = []
        stated: dict[int, Stated] = {}
        for entry in self._entries:
            drawn: list[Mended] = []
            own_boxes: list[Box | None] = []
            for piece in entry.pieces or (Loss.EMPTY,):
                found = _after_filling(piece, next(filled)) if isinstance(piece, Shape) else piece
                if isinstance(found, Loss):
                    self.lose(found, entry.fields["name"])
                elif isinstance(found, BoxPiece):
                    own_boxes.append(found.box_xywh)
                else:
                    drawn.append(found)
            if drawn:
                if entry.stated is not None:
                    stated[len(masks)] = entry.stated
                masks.append(_mask(entry.fields, drawn, len(drawn) + len(own_boxes)))
                continue
            for box in own_boxes:
                if box is None:
                    self.lose(Loss.BAD_SHAPE, entry.fields["name"])
                else:
                    boxes.append(_box(entry.fields, box))
        _compare(masks, stated)
        return ImportedImage(
            masks=tuple(masks),
            boxes=tuple(boxes),
            notes=tuple(self._notes),
            attributes=attributes or {},
        )


def _compare(masks: list[ImportedMask], stated: Mapping[int, Stated]) -> None:
    """Note on each mask what its record says of it and is not so."""
    segmentations = [masks[position].segmentation for position in stated]
    areas, boxes = areas_of(segmentations), boxes_xywh(segmentations)
    for position, area, box in zip(stated, areas, boxes, strict=True):
        mask = masks[position]
        notes = stated[position].disagreements(mask, box, area)
        if notes:
            masks[position] = replace(mask, repairs=(*mask.repairs, *notes))


def _mask(fields: Fields, drawn: Sequence[Mended], regions: int) -> ImportedMask:
    if len(drawn) == 1 and not drawn[0][1]:
        return ImportedMask(segmentation=drawn[0][0], regions=regions, **fields)
    repairs = {*fields.get("repairs", ()), *(repair for _, own in drawn for repair in own)}
    return ImportedMask(
        **{
            **fields,
            "segmentation": _union([mask for mask, _ in drawn]),
            "regions": regions,
            "repairs": tuple(sorted(repairs)),
        }
    )


def _box(fields: Fields, box_xywh: Box) -> ImportedBox:
    kept = ("name", "category", "annotator", "attributes")
    return ImportedBox(box_xywh=box_xywh, **{k: fields[k] for k in kept if k in fields})


def _after_filling(shape: Shape, filled: Rle | Loss) -> Mended | Loss:
    return filled if isinstance(filled, Loss) else (filled, shape.repairs)


def _union(masks: Sequence[Rle]) -> Rle:
    return masks[0] if len(masks) == 1 else union(masks)
