"""The annotations of one image, gathered one by one and filled together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sa_engine.formats.base import (
    Box,
    ImportedBox,
    ImportedImage,
    ImportedMask,
)
from sa_engine.formats.codecs import geometry
from sa_engine.formats.codecs.geometry import Mended, Shape
from sa_engine.formats.reasons import Loss, Note, Repair
from sa_engine.masks.rle import Rle, union

Fields = Mapping[str, Any]
"""Fields of `ImportedMask` but its segmentation; "name" among them."""

Piece = Shape | Mended | Loss
"""A shape that is yet to be filled, a mask, or why there is neither."""


@dataclass(frozen=True, slots=True)
class _Entry:
    fields: Fields
    pieces: Sequence[Piece]


class Gatherer:
    """Takes the annotations of one picture of (height, width) pixels."""

    def __init__(self, size_hw: tuple[int, int]) -> None:
        self.size_hw = size_hw
        self._entries: list[_Entry] = []
        self._boxes: list[ImportedBox] = []
        self._notes: list[Note] = []

    def add(self, fields: Fields, *pieces: Piece) -> None:
        """One mask, the union of its pieces; pieces that are lost leave the others as they are."""
        self._entries.append(_Entry(fields, pieces))

    def add_box(self, fields: Fields, box_xywh: Box | None) -> None:
        """A box without a mask; None if it is none."""
        if box_xywh is None:
            self.lose(Loss.BAD_SHAPE, fields["name"])
            return
        kept = ("name", "category", "annotator", "attributes")
        self._boxes.append(
            ImportedBox(box_xywh=box_xywh, **{k: fields[k] for k in kept if k in fields})
        )

    def lose(self, loss: Loss, name: str) -> None:
        """An annotation that cannot be taken."""
        self._notes.append(Note(loss, name))

    def finish(self, attributes: Mapping[str, Any] | None = None) -> ImportedImage:
        """Everything that was taken. attributes: of the image."""
        shapes = [p for entry in self._entries for p in entry.pieces if isinstance(p, Shape)]
        filled = iter(geometry.fill(shapes, self.size_hw))
        masks = []
        for entry in self._entries:
            found = [
                _after_filling(p, next(filled)) if isinstance(p, Shape) else p for p in entry.pieces
            ]
            kept = [piece for piece in found if not isinstance(piece, Loss)]
            if not kept:
                losses = [piece for piece in found if isinstance(piece, Loss)]
                self.lose(losses[0] if losses else Loss.EMPTY, entry.fields["name"])
                continue
            if len(found) == 1 and not kept[0][1]:
                masks.append(ImportedMask(segmentation=kept[0][0], **entry.fields))
                continue
            repairs = {*entry.fields.get("repairs", ()), *(r for _, own in kept for r in own)}
            if len(kept) < len(found):
                repairs.add(Repair.RING_LEFT_OUT)
            masks.append(
                ImportedMask(
                    **{
                        **entry.fields,
                        "segmentation": _union([mask for mask, _ in kept]),
                        "repairs": tuple(sorted(repairs)),
                    }
                )
            )
        return ImportedImage(
            masks=tuple(masks),
            boxes=tuple(self._boxes),
            notes=tuple(self._notes),
            attributes=attributes or {},
        )


def _after_filling(shape: Shape, filled: Rle | Loss) -> Mended | Loss:
    return filled if isinstance(filled, Loss) else (filled, shape.repairs)


def _union(masks: Sequence[Rle]) -> Rle:
    return masks[0] if len(masks) == 1 else union(masks)
