"""What people made of proposals: each mask that came back, held against the one that went out.

In the paper's semi-automatic stage (section 4) every mask of an image counts as that stage's,
those that the annotators took over and those that they added. So it is here: whatever comes back
was looked at by a person and is of stage `semi-automatic`; its attribute "proposal" tells which
proposal it was and how far it was changed.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sa_engine.dataset import image_fields
from sa_engine.dataset.images.reading import StoredImage
from sa_engine.dataset.reader import Dataset
from sa_engine.dataset.records import ImageRecord, ImageStatus, MaskRecord, Stage
from sa_engine.dataset.shards import rows
from sa_engine.dataset.sources.listing import Source, SourceList
from sa_engine.errors import ImageError, UsageError
from sa_engine.formats.base import ListedImage
from sa_engine.formats.convert import PROPOSAL_ID
from sa_engine.formats.names import Found, ImageNames
from sa_engine.formats.writers.base_writer import UNCATEGORISED
from sa_engine.formats.writers.file_names import Names
from sa_engine.masks.rle import iou_matrix

KEPT_IOU = 0.98
"""From this IoU on a mask counts as taken over unchanged: tools redraw outlines a little."""

SAME_IOU = 0.5
"""From this IoU on a mask without a proposal's id counts as that proposal, edited."""


class Verdict(StrEnum):
    """What a person did about a mask."""

    KEPT = "kept"
    EDITED = "edited"
    DELETED = "deleted"
    ADDED = "added"


@dataclass(frozen=True, slots=True)
class Match:
    """The proposal that a returned mask goes back to: its position, and the IoU of the two."""

    position: int
    iou: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """What became of one image's proposals.

    masks: those that came back, in their order.
    kept, deleted: ids of proposals. edited: (id, IoU with the proposal).
    added: masks that were no proposals.
    seconds: that the image took, where the tool says it.
    """

    masks: tuple[MaskRecord, ...]
    kept: tuple[int, ...]
    edited: tuple[tuple[int, float], ...]
    deleted: tuple[int, ...]
    added: int
    seconds: float | None

    def to_json(self) -> dict[str, Any]:
        """The image's attribute "proposals"."""
        return {
            "kept": list(self.kept),
            "edited": [{"id": number, "iou": round(iou, 4)} for number, iou in self.edited],
            "deleted": list(self.deleted),
            "added": self.added,
            "seconds": self.seconds,
        }


def decide(
    proposed: ImageRecord,
    returned: Sequence[MaskRecord],
    *,
    seconds: float | None = None,
) -> Decided:
    """Hold an image's returned masks against its proposals.

    proposed: the image as it was exported; masks of stage `manual` in it are people's already: they
        keep their stage and count neither as proposals nor as added.
    """
    exported = proposed.annotations
    ids = [proposed.mask_id(position) for position in range(len(exported))]
    matches = match_masks(exported, ids, returned)
    # Exports make up a category for masks without one: it is taken off again.
    nameless = all(mask.category is None for mask in exported)
    kept: list[int] = []
    edited: list[tuple[int, float]] = []
    masks: list[MaskRecord] = []
    added = 0
    for mask, match in zip(returned, matches, strict=True):
        if nameless and mask.category == UNCATEGORISED:
            mask = replace(mask, category=None)
        if match is None:
            added += 1
            masks.append(_of_person(mask, {"verdict": Verdict.ADDED.value}))
            continue
        source = exported[match.position]
        if source.stage is Stage.MANUAL:
            masks.append(_without_id(replace(mask, stage=Stage.MANUAL)))
            continue
        number = ids[match.position]
        verdict = Verdict.KEPT if match.iou >= KEPT_IOU else Verdict.EDITED
        said = {"verdict": verdict.value, "id": number, "iou": round(match.iou, 4)}
        if verdict is Verdict.KEPT:
            kept.append(number)
            masks.append(_taken_over(source, mask, said))
        else:
            edited.append((number, match.iou))
            masks.append(_of_person(mask, said))
    found = {match.position for match in matches if match is not None}
    deleted = tuple(
        ids[position]
        for position, mask in enumerate(exported)
        if position not in found and mask.stage is not Stage.MANUAL
    )
    return Decided(
        masks=tuple(masks),
        kept=tuple(kept),
        edited=tuple(edited),
        deleted=deleted,
        added=added,
        seconds=seconds,
    )


def match_masks(
    exported: Sequence[MaskRecord], ids: Sequence[int], returned: Sequence[MaskRecord]
) -> list[Match | None]:
    """For each returned mask the exported one that it was, one to one.

    A proposal's id that a mask still carries decides, if the two overlap at all (tools copy ids
    with shapes, and drop them). The others go by IoU, the best pairs first.
    """
    ious = iou_matrix([m.segmentation for m in returned], [m.segmentation for m in exported])
    places = {number: position for position, number in enumerate(ids)}
    # By id first, so an id adds 1 to the pair's rank; pairs of rank 0 are none.
    ranks = np.where(ious >= SAME_IOU, ious, 0.0)
    for row, mask in enumerate(returned):
        position = places.get(mask.attributes.get(PROPOSAL_ID, -1))
        if position is not None and ious[row, position] > 0:
            ranks[row, position] = 1 + ious[row, position]
    return [
        None if column is None else Match(column, float(ious[row, column]))
        for row, column in enumerate(one_to_one(ranks))
    ]


def one_to_one(ranks_RC: NDArray[np.float64]) -> list[int | None]:
    """For each row a column of its own, the highest rank first; None where only 0 is left."""
    found: list[int | None] = [None] * ranks_RC.shape[0]
    left = ranks_RC.copy()
    while left.size and left.max() > 0:
        row, column = (int(i) for i in np.unravel_index(int(left.argmax()), left.shape))
        found[row] = column
        left[row, :] = 0
        left[:, column] = 0
    return found


def _taken_over(source: MaskRecord, mask: MaskRecord, said: Mapping[str, Any]) -> MaskRecord:
    """The proposal with its scores and prompts, under the hand of a person."""
    return replace(
        source,
        segmentation=mask.segmentation,
        bbox_xywh=mask.bbox_xywh,
        area=mask.area,
        stage=Stage.SEMI_AUTOMATIC,
        category=mask.category,
        annotator=mask.annotator,
        time_spent_s=mask.time_spent_s,
        iscrowd=mask.iscrowd,
        attributes={**source.attributes, **_of_tool(mask), "proposal": dict(said)},
    )


def _of_tool(mask: MaskRecord) -> dict[str, Any]:
    """What our own tool says of the person's work on a mask."""
    return {key: mask.attributes[key] for key in ("annotate",) if key in mask.attributes}


def _of_person(mask: MaskRecord, said: Mapping[str, Any]) -> MaskRecord:
    """A mask that a person drew or changed: the model's scores are not of it."""
    height, width = mask.segmentation.size_hw
    plain = _without_id(mask)
    return replace(
        plain,
        stage=Stage.SEMI_AUTOMATIC,
        predicted_iou=None,
        stability_score=None,
        crop_box_xywh=(0.0, 0.0, float(width), float(height)),
        point_coords_xy=(),
        prompt_box_xywh=None,
        box_score=None,
        attributes={**plain.attributes, "proposal": dict(said)},
    )


def _without_id(mask: MaskRecord) -> MaskRecord:
    kept = {key: value for key, value in mask.attributes.items() if key != PROPOSAL_ID}
    return replace(mask, attributes=kept)


class ProposalSet:
    """The images of a dataset of proposals, to be found by name.

    Names are those that exports give them, those of the dataset's own files, and those of their
    sources, in this order.

    Raises UsageError or DatasetError for a path that is no complete dataset.
    """

    def __init__(self, path: Path | str) -> None:
        self.dataset = Dataset(path)
        self.digest = self.dataset.digest()
        names = Names()
        exported: list[str] = []
        stored: list[str] = []
        sources: list[str] = []
        self._ids: list[int] = []
        for index in self.dataset.shard_indices:
            columns = self.dataset.columns(index, rows.LIGHT_COLUMNS)
            for values in zip(*columns.values(), strict=True):
                record = image_fields.from_columns(dict(zip(columns, values, strict=True)), ())
                if record.status is ImageStatus.OK:
                    exported.append(names.of(record))
                    stored.append(record.file_name)
                    sources.append(record.source)
                    self._ids.append(record.image_id)
        if not self._ids:
            raise UsageError(f"{path} holds no image: give the dataset that was exported")
        self._names = [_names(each) for each in (exported, stored, sources)]

    def __len__(self) -> int:
        """Images that could be exported."""
        return len(self._ids)

    def find(self, listed: ListedImage) -> tuple[int, ...]:
        """Ids of the exported images that a corrected file may mean, likeliest first.

        More than one if the name that one image has in exports is another's in the dataset.
        """
        ids: dict[int, None] = {}
        for names in self._names:
            found = names.find(listed)
            if isinstance(found, Found):
                ids[self._ids[found.position]] = None
        return tuple(ids)

    def record(self, image_ids: Sequence[int], source: Source, image: StoredImage) -> ImageRecord:
        """The exported image, of those that it may be, that is the very picture at hand.

        Raises ImageError: "other-size", "other-picture".
        """
        records = [self.dataset.record(image_id) for image_id in image_ids]
        height, width = image.size_hw
        fitting = [each for each in records if (each.width, each.height) == (width, height)]
        for record in fitting:
            if image.sha256 in (record.sha256, self._stored_digest(record)):
                return record
        if not fitting:
            raise ImageError(
                "other-size",
                f"{source.name} has {width}x{height} pixels, its proposals were made on "
                f"{records[0].width}x{records[0].height}: give the exported pictures with --images",
            )
        raise ImageError(
            "other-picture",
            f"{source.name} is not the picture that was exported under this name: "
            "give the exported pictures with --images",
        )

    def _stored_digest(self, record: ImageRecord) -> str | None:
        if not self.dataset.has_image(record):
            return None
        return hashlib.sha256(self.dataset.read_image_bytes(record)).hexdigest()


def _names(names: Sequence[str]) -> ImageNames:
    return ImageNames(SourceList.of([Source(name, name) for name in names]))
