"""Writing COCO instances. Nothing is lost: masks stay RLE, boxes without a mask are annotations
without a segmentation, and further fields go along."""

import json
import os
from pathlib import Path
from typing import Any, TextIO

from sa_engine.dataset.records import MaskRecord
from sa_engine.formats.reasons import Lossy, Note, Tally
from sa_engine.formats.writers.base_writer import (
    NOT_OF_SOURCE,
    ExportedBox,
    ExportedImage,
    details,
    write_file,
)
from sa_engine.formats.writers.survey import Survey
from sa_engine.masks.polygons import to_parts

_IMAGE_KEYS = frozenset({"id", "file_name", "width", "height"})
_MASK_KEYS = frozenset(
    {"id", "image_id", "category_id", "segmentation", "area", "bbox", "iscrowd", "category"}
)


class CocoWriter:
    """Writes `instances.json`, and the pictures under `images`.

    The file is written as it comes: its images to one file and its annotations to another, which
    are put together last. `polygons` writes masks without holes as polygons along their pixels'
    edges, from which COCO's rasteriser makes the same masks again.
    """

    def __init__(self, out: Path, survey: Survey, *, polygons: bool = False) -> None:
        self._survey = survey
        self._polygons = polygons
        self._out = out
        self._path = out / "instances.json"
        self._annotations_path = out / "annotations.part"
        self._images = self._path.open("w", encoding="ascii")
        self._annotations = self._annotations_path.open("w+", encoding="ascii")
        info = survey.about.get("info") or {"description": "exported by sa-engine"}
        licenses = survey.about.get("licenses") or []
        self._images.write(f'{{"info": {_dump(info)}, "licenses": {_dump(licenses)},\n')
        self._images.write(f'"categories": {_dump(list(survey.categories))},\n"images": [')
        self._num_images = self._num_masks = 0

    def add(self, image: ExportedImage, losses: Tally) -> None:
        """See `Writer.add`."""
        record = image.record
        kept_id = record.attributes.get("source_id")
        image_id = kept_id if self._survey.keeps_image_ids else record.image_id
        extra = {
            key: value
            for key, value in record.attributes.items()
            if key not in NOT_OF_SOURCE and key not in _IMAGE_KEYS
        }
        known = {"id": image_id, "file_name": image.name}
        sides = {"width": record.width, "height": record.height}
        self._num_images += 1
        _append(self._images, {**known, **sides, **extra}, first=self._num_images == 1)
        for mask, mask_id in zip(record.annotations, image.mask_ids, strict=True):
            if mask.category is None:
                losses.add(Note(Lossy.CATEGORY_ADDED, f"mask {mask_id}"))
            self._append_annotation(self._annotation(mask, mask_id, image_id))
        for box in image.boxes:
            if box.category is None:
                losses.add(Note(Lossy.CATEGORY_ADDED, f"box {box.box_id}"))
            self._append_annotation(self._box(box, image_id))
        if image.load is not None:
            write_file(self._out / "images" / image.name, image.load())

    def finish(self) -> None:
        """See `Writer.finish`."""
        self._images.write('\n],\n"annotations": [')
        self._annotations.seek(0)
        while block := self._annotations.read(1 << 20):
            self._images.write(block)
        self._images.write("\n]}\n")
        self._images.close()
        self._annotations.close()
        os.unlink(self._annotations_path)  # noqa: PTH108 - symmetric with open

    def _append_annotation(self, item: dict[str, Any]) -> None:
        self._num_masks += 1
        _append(self._annotations, item, first=self._num_masks == 1)

    def _annotation(self, mask: MaskRecord, mask_id: int, image_id: Any) -> dict[str, Any]:
        survey = self._survey
        extra = {
            key: value
            for key, value in mask.attributes.items()
            if key not in NOT_OF_SOURCE and key not in _MASK_KEYS
        }
        return {
            **extra,
            "id": mask.attributes["source_id"] if survey.keeps_mask_ids else mask_id,
            "image_id": image_id,
            "category_id": survey.id_of(mask),
            "segmentation": self._segmentation(mask),
            "area": mask.area,
            "bbox": list(mask.bbox_xywh),
            "iscrowd": int(mask.iscrowd),
            **details(mask, mask_id),
        }

    def _box(self, box: ExportedBox, image_id: Any) -> dict[str, Any]:
        extra = {
            key: value
            for key, value in box.attributes.items()
            if key not in NOT_OF_SOURCE and key not in _MASK_KEYS
        }
        _, _, width, height = box.box_xywh
        kept_id = self._survey.keeps_mask_ids
        return {
            **extra,
            "id": box.attributes["source_id"] if kept_id else box.box_id,
            "image_id": image_id,
            "category_id": self._survey.id_of(box),
            "segmentation": [],
            "area": width * height,
            "bbox": list(box.box_xywh),
            "iscrowd": int(box.attributes.get("iscrowd") in (1, True)),
            **({"annotator": box.annotator} if box.annotator else {}),
        }

    def _segmentation(self, mask: MaskRecord) -> Any:
        if self._polygons:
            parts = to_parts(mask.segmentation)
            if not any(part.holes for part in parts):
                return [part.outer.reshape(-1).tolist() for part in parts]
        return mask.segmentation.to_coco()


def _append(file: TextIO, item: dict[str, Any], *, first: bool) -> None:
    file.write(("\n" if first else ",\n") + _dump(item))


def _dump(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)
