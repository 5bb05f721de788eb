"""Writing COCO instances. Nothing is lost: masks stay RLE, and further fields go along."""

import json
import os
from pathlib import Path
from typing import Any, TextIO

from sa_engine.dataset.records import MaskRecord
from sa_engine.formats.reasons import Lossy, Note, Tally
from sa_engine.formats.writers.base_writer import ExportedImage, Survey, details, write_file
from sa_engine.masks.polygons import to_parts

_NOT_OF_SOURCE = frozenset({"source_id", "category_id", "import", "boxes", "reading"})
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
        self._images.write('{"info": {"description": "exported by sa-engine"}, "licenses": [],\n')
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
            if key not in _NOT_OF_SOURCE and key not in _IMAGE_KEYS
        }
        known = {"id": image_id, "file_name": image.name}
        sides = {"width": record.width, "height": record.height}
        self._num_images += 1
        _append(self._images, {**known, **sides, **extra}, first=self._num_images == 1)
        for mask, mask_id in zip(record.annotations, image.mask_ids, strict=True):
            self._num_masks += 1
            if mask.category is None:
                losses.add(Note(Lossy.CATEGORY_ADDED, f"mask {mask_id}"))
            item = self._annotation(mask, mask_id, image_id)
            _append(self._annotations, item, first=self._num_masks == 1)
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

    def _annotation(self, mask: MaskRecord, mask_id: int, image_id: Any) -> dict[str, Any]:
        survey = self._survey
        name = survey.category_of_none if mask.category is None else mask.category
        extra = {
            key: value
            for key, value in mask.attributes.items()
            if key not in _NOT_OF_SOURCE and key not in _MASK_KEYS
        }
        return {
            **extra,
            "id": mask.attributes["source_id"] if survey.keeps_mask_ids else mask_id,
            "image_id": image_id,
            "category_id": survey.category_ids[name or ""],
            "segmentation": self._segmentation(mask),
            "area": mask.area,
            "bbox": list(mask.bbox_xywh),
            "iscrowd": int(mask.iscrowd),
            **details(mask, mask_id),
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
