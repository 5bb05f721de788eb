"""Writing Label Studio's JSON: tasks with annotations, or with predictions to correct."""

import json
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any
from urllib.parse import quote

from sa_engine.dataset.records import ImageRecord, MaskRecord
from sa_engine.formats.codecs import brush
from sa_engine.formats.readers.label_studio import MODEL_VERSION
from sa_engine.formats.reasons import Lossy, Note, Tally
from sa_engine.formats.writers.base_writer import (
    NOT_OF_SOURCE,
    UNCATEGORISED,
    ExportedBox,
    ExportedImage,
    details,
    image_details,
    is_proposed,
    write_file,
)
from sa_engine.formats.writers.survey import Survey
from sa_engine.formats.writers.xml import xml_value
from sa_engine.masks.rle import decode


class LabelStudioWriter:
    """Writes `tasks.json`, `label_config.xml`, and the pictures under `images`.

    Masks are brush regions, which hold every pixel; boxes without a mask are rectangles. What Label
    Studio has no place for goes into a region's `meta` and a task's. Pictures are linked as files
    of a local storage.

    A task with masks that a model proposed is a prediction for people to correct: with all its
    masks, for those of people are to be seen as well, and a finished annotation would take the task
    off the queue. Annotators stand in `meta`, for `completed_by` would have to name the server's
    own users.
    """

    def __init__(self, out: Path, survey: Survey) -> None:
        self._out = out
        self._survey = survey
        self._file = (out / "tasks.json").open("w", encoding="ascii")
        self._file.write("[")
        self._count = 0
        names = list(survey.category_ids) or [UNCATEGORISED]
        labels = "".join(f"    <Label value={xml_value(name)}/>\n" for name in names)
        boxes = f'  <RectangleLabels name="box" toName="image">\n{labels}  </RectangleLabels>\n'
        config = (
            '<View>\n  <Image name="image" value="$image"/>\n'
            f'  <BrushLabels name="label" toName="image">\n{labels}  </BrushLabels>\n'
            f"{boxes if survey.has_boxes else ''}</View>\n"
        )
        write_file(out / "label_config.xml", config.encode())

    def add(self, image: ExportedImage, losses: Tally) -> None:
        """See `Writer.add`."""
        record = image.record
        results: dict[str | None, list[dict[str, Any]]] = {}
        for mask, mask_id in zip(record.annotations, image.mask_ids, strict=True):
            if mask.category is None:
                losses.add(Note(Lossy.CATEGORY_ADDED, f"mask {mask_id}"))
            if self._survey.shares_name(mask):
                losses.add(Note(Lossy.SAME_NAME, f"mask {mask_id}"))
            results.setdefault(mask.annotator, []).append(_brush_region(mask, mask_id))
        for box in image.boxes:
            if box.category is None:
                losses.add(Note(Lossy.CATEGORY_ADDED, f"box {box.box_id}"))
            region = _rectangle_region(box, (record.height, record.width))
            results.setdefault(box.annotator, []).append(region)
        further = image_details(record)
        task = {
            "id": record.image_id,
            "data": {"image": "/data/local-files/?d=" + quote(f"images/{image.name}")},
            **({"meta": {"attributes": further}} if further else {}),
            **_answers(record, results),
        }
        text = json.dumps(task, separators=(",", ":"), allow_nan=False)
        self._file.write((",\n" if self._count else "\n") + text)
        self._count += 1
        if image.load is not None:
            write_file(self._out / "images" / image.name, image.load())

    def finish(self) -> None:
        """See `Writer.finish`."""
        self._file.write("\n]\n")
        self._file.close()


def _answers(
    record: ImageRecord, results: Mapping[str | None, list[dict[str, Any]]]
) -> dict[str, Any]:
    """The annotations of a task, one a person; or one prediction, where a model proposed masks."""
    if any(map(is_proposed, record.annotations)):
        scores = [m.predicted_iou for m in record.annotations if m.predicted_iou is not None]
        prediction = {
            "model_version": MODEL_VERSION,
            "result": [region for regions in results.values() for region in regions],
            **({"score": fmean(scores)} if scores else {}),
        }
        return {"annotations": [], "predictions": [prediction]}
    annotations = [{"was_cancelled": False, "result": regions} for regions in results.values()]
    return {"annotations": annotations}


def _brush_region(mask: MaskRecord, mask_id: int) -> dict[str, Any]:
    known = {k: v for k, v in mask.attributes.items() if k not in NOT_OF_SOURCE}
    meta = {
        **details(mask, mask_id),
        **({"iscrowd": True} if mask.iscrowd else {}),
        **({"attributes": known} if known else {}),
    }
    value = {
        "format": "rle",
        "rle": list(brush.encode(decode(mask.segmentation))),
        "brushlabels": [UNCATEGORISED if mask.category is None else mask.category],
    }
    return _region(mask_id, "brushlabels", "label", mask.segmentation.size_hw, value, meta)


def _rectangle_region(box: ExportedBox, size_hw: tuple[int, int]) -> dict[str, Any]:
    height, width = size_hw
    x, y, w, h = box.box_xywh
    known = {k: v for k, v in box.attributes.items() if k not in NOT_OF_SOURCE}
    meta = {
        **({"annotator": box.annotator} if box.annotator else {}),
        **({"attributes": known} if known else {}),
    }
    value = {
        "x": 100 * x / width,
        "y": 100 * y / height,
        "width": 100 * w / width,
        "height": 100 * h / height,
        "rotation": 0,
        "rectanglelabels": [UNCATEGORISED if box.category is None else box.category],
    }
    return _region(box.box_id, "rectanglelabels", "box", size_hw, value, meta)


def _region(
    number: int,
    kind: str,
    tag: str,
    size_hw: tuple[int, int],
    value: dict[str, Any],
    meta: dict[str, Any],
) -> dict[str, Any]:
    height, width = size_hw
    return {
        "id": str(number),
        "type": kind,
        "from_name": tag,
        "to_name": "image",
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "value": value,
        **({"meta": meta} if meta else {}),
    }
