"""An annotator simulated by masks that people drew before and that were held back.

Shown an image's proposals, the annotator takes over those that fit an object (IoU to one of the
held-back masks), deletes the others, and draws each object that is missing. Nothing but the
proposals is shown to the model's side of it, so the figures are those that a person as careful as
the one who drew the masks would give.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sa_engine.dataset.reader import Dataset
from sa_engine.dataset.records import ImageRecord, ImageStatus, MaskRecord
from sa_engine.errors import UsageError
from sa_engine.masks.rle import iou_matrix
from sa_engine.pipelines.loop.steps import replace_file
from sa_engine.pipelines.stages.corrections import one_to_one

ANNOTATOR = "simulated"


@dataclass(frozen=True, slots=True)
class Answered:
    """One image as the annotator leaves it.

    taken: positions of the proposals that were taken over. drawn: positions of the held-back masks
    that no proposal fitted.
    """

    taken: tuple[int, ...]
    drawn: tuple[int, ...]


def answer(proposed: ImageRecord, held_back: ImageRecord, *, accept_iou: float) -> Answered:
    """What the annotator makes of an image's proposals.

    Proposals and objects go together one to one, the best pairs first: a second proposal of one
    object is deleted. Crowds are no objects. ValueError if the two are of other sizes.
    """
    size, known_size = (proposed.width, proposed.height), (held_back.width, held_back.height)
    if size != known_size:
        raise ValueError(f"proposals on {size}, held-back masks on {known_size} pixels")
    objects = [i for i, mask in enumerate(held_back.annotations) if not mask.iscrowd and mask.area]
    ious = iou_matrix(
        [mask.segmentation for mask in proposed.annotations],
        [held_back.annotations[i].segmentation for i in objects],
    )
    found = one_to_one(np.where(ious >= accept_iou, ious, 0.0).T)
    return Answered(
        taken=tuple(sorted(place for place in found if place is not None)),
        drawn=tuple(objects[i] for i, place in enumerate(found) if place is None),
    )


def write_answers(proposals: Path, held_back: Path, out: Path, *, accept_iou: float) -> None:
    """Write a COCO file of the images as the annotator leaves them, named as the dataset stores
    them; images without held-back masks are not in it.

    Images are told by content. Raises UsageError if none is among the held-back ones, or if one was
    stored at another size.
    """
    shown, known = Dataset(proposals), Dataset(held_back)
    places = {
        record.sha256: position
        for position, record in enumerate(known.images())
        if record.status is ImageStatus.OK
    }
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for record in shown.images(status=ImageStatus.OK):
        place = places.get(record.sha256)
        if place is None and shown.has_image(record):
            # Its source may be the stored file of another dataset.
            place = places.get(hashlib.sha256(shown.read_image_bytes(record)).hexdigest())
        if place is None:
            continue
        truth = known[place]
        try:
            answered = answer(record, truth, accept_iou=accept_iou)
        except ValueError as error:
            raise UsageError(
                f"{record.source}: {error}: give held-back masks of the same pictures"
            ) from error
        images.append(
            {
                "id": record.image_id,
                "file_name": record.file_name,
                "width": record.width,
                "height": record.height,
            }
        )
        for mask in _masks(record, truth, answered):
            known_id = {"id": len(annotations) + 1, "image_id": record.image_id}
            annotations.append({**known_id, **mask})
    if not images:
        raise UsageError(
            f"{held_back} holds none of the {len(shown)} images that proposals were made for: give "
            "a dataset with masks of the same pictures"
        )
    content = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 1, "name": "object"}],
    }
    text = json.dumps(content, separators=(",", ":"), allow_nan=False)
    replace_file(out, text.encode("ascii"))


def _masks(
    proposed: ImageRecord, held_back: ImageRecord, answered: Answered
) -> Iterator[dict[str, Any]]:
    for place in answered.taken:
        yield {**_mask(proposed.annotations[place]), "proposal_id": proposed.mask_id(place)}
    for place in answered.drawn:
        yield _mask(held_back.annotations[place])


def _mask(mask: MaskRecord) -> dict[str, Any]:
    return {
        "category_id": 1,
        "segmentation": mask.segmentation.to_coco(),
        "area": mask.area,
        "bbox": list(mask.bbox_xywh),
        "iscrowd": 0,
        "annotator": ANNOTATOR,
    }
