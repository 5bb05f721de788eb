"""Masks for boxes that people drew: each box prompts the model, which gives one mask."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sa_engine.dataset.folder.base import sha256_of
from sa_engine.dataset.manifest import ModelRef
from sa_engine.dataset.records import Stage
from sa_engine.errors import UsageError
from sa_engine.formats.base import ImportedBox, ImportedMask
from sa_engine.formats.reasons import Loss, Note
from sa_engine.masks.rle import encode
from sa_engine.model.checkpoint import load_checkpoint, read_card
from sa_engine.model.device import DTYPES, choose_device, choose_precision
from sa_engine.model.predictor import Predictor
from sa_engine.model.weights import DEFAULT_MODEL, bundled_model

BOXES_AT_ONCE = 16
"""Boxes asked together: their masks are held at full size."""

Segment = Callable[[NDArray[np.uint8], Sequence[ImportedBox]], list[ImportedMask | Note]]


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxSegmenter:
    """A model that segments boxes; plain values, so that it can be sent to another process."""

    checkpoint: Path
    device: str
    precision: str
    model: ModelRef

    def open(self, worker: int) -> Segment:
        """Load the model and return the function from a picture and its boxes to masks."""
        device = choose_device(self.device)
        if device.type == "cuda" and device.index is None:
            device = torch.device("cuda", worker % torch.cuda.device_count())
        sam = load_checkpoint(self.checkpoint, device)
        predictor = Predictor(sam, device, DTYPES[self.precision])

        def segment(
            rgb_HW3: NDArray[np.uint8], boxes: Sequence[ImportedBox]
        ) -> list[ImportedMask | Note]:
            if boxes:
                predictor.set_image(rgb_HW3)
            found: list[ImportedMask | Note] = []
            for start in range(0, len(boxes), BOXES_AT_ONCE):
                found += _segment_some(predictor, boxes[start : start + BOXES_AT_ONCE])
            return found

        return segment


def box_segmenter(
    model: str | None, checkpoint: Path | None, device: str, precision: str
) -> BoxSegmenter:
    """The segmenter that options name. UsageError or CheckpointError if it cannot be."""
    if model is not None and checkpoint is not None:
        raise UsageError("--model and --checkpoint exclude each other: give one of them")
    path = checkpoint or bundled_model(model or DEFAULT_MODEL)
    card = read_card(path)
    dtype = choose_precision(precision, choose_device(device))
    with path.open("rb") as file:
        sha256 = sha256_of(file)
    return BoxSegmenter(
        checkpoint=path,
        device=device,
        precision=next(name for name, each in DTYPES.items() if each is dtype),
        model=ModelRef(name=card.name, sha256=sha256),
    )


def _segment_some(predictor: Predictor, boxes: Sequence[ImportedBox]) -> list[ImportedMask | Note]:
    height, width = predictor.size_hw
    found: list[ImportedMask | Note] = []
    inside: list[tuple[ImportedBox, list[float]]] = []
    for box in boxes:
        x, y, w, h = box.box_xywh
        corners = [max(0.0, x), max(0.0, y), min(float(width), x + w), min(float(height), y + h)]
        if corners[0] < corners[2] and corners[1] < corners[3]:
            inside.append((box, corners))
        else:
            found.append(Note(Loss.BOX_FAILED, box.name))
    masks, iou = predictor.predict_boxes([corners for _, corners in inside])
    for (box, corners), mask, score in zip(inside, masks[:, 0], iou[:, 0], strict=True):
        if mask.any():
            found.append(_mask_of(box, corners, mask, float(score)))
        else:
            found.append(Note(Loss.BOX_FAILED, box.name))
    return found


def _mask_of(
    box: ImportedBox, corners: list[float], mask: NDArray[Any], score: float
) -> ImportedMask:
    left, top, right, bottom = corners
    return ImportedMask(
        segmentation=encode(mask),
        name=box.name,
        category=box.category,
        annotator=box.annotator,
        attributes=box.attributes,
        # A person placed the box, the model drew the mask.
        stage=Stage.SEMI_AUTOMATIC,
        predicted_iou=min(1.0, max(0.0, score)),
        prompt_box_xywh=(left, top, right - left, bottom - top),
    )
