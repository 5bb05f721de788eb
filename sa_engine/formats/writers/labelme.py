"""Writing labelme: each picture with a JSON file of its shapes beside it."""

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sa_engine.dataset.records import ImageRecord, MaskRecord
from sa_engine.formats.codecs import png
from sa_engine.formats.reasons import Lossy, Note, Tally
from sa_engine.formats.writers.base_writer import (
    NOT_OF_SOURCE,
    UNCATEGORISED,
    ExportedBox,
    ExportedImage,
    details,
    with_suffix,
    write_file,
)
from sa_engine.formats.writers.survey import Survey
from sa_engine.masks.inset import STEPS, to_inset_parts
from sa_engine.masks.rle import decode_window

_IMAGE_KEYS = frozenset(
    {"version", "flags", "shapes", "imagePath", "imageData", "imageHeight", "imageWidth"}
    | {"file_name"}
)
_SHAPE_KEYS = frozenset(
    {"label", "points", "group_id", "description", "shape_type", "flags", "mask", "iscrowd"}
)


class LabelmeWriter:
    """Writes each picture with a JSON file beside it. Nothing is lost.

    A mask without holes becomes polygons, those of one mask with one `group_id`; one with holes
    becomes a `mask` shape. Polygons run a quarter pixel inside the mask's edges: labelme draws the
    pixels that they pass through as well as what they enclose. A box without a mask becomes a
    rectangle. labelme keeps fields that it does not know.
    """

    def __init__(self, out: Path, survey: Survey) -> None:
        self._out = out
        self._survey = survey

    def add(self, image: ExportedImage, losses: Tally) -> None:
        """See `Writer.add`."""
        record = image.record
        shapes: list[dict[str, Any]] = []
        groups = _Groups(record)
        for mask, mask_id in zip(record.annotations, image.mask_ids, strict=True):
            if mask.category is None:
                losses.add(Note(Lossy.CATEGORY_ADDED, f"mask {mask_id}"))
            if self._survey.shares_name(mask):
                losses.add(Note(Lossy.SAME_NAME, f"mask {mask_id}"))
            shapes += _shapes(mask, mask_id, groups)
        for box in image.boxes:
            if box.category is None:
                losses.add(Note(Lossy.CATEGORY_ADDED, f"box {box.box_id}"))
            shapes.append(_rectangle(box))
        extra = {
            key: value
            for key, value in record.attributes.items()
            if key not in NOT_OF_SOURCE and key not in _IMAGE_KEYS
        }
        content = {
            **extra,
            "version": "5.5.0",
            "flags": _flags(record.attributes.get("flags")),
            "shapes": shapes,
            "imagePath": image.name.rpartition("/")[2],
            "imageData": None,
            "imageHeight": record.height,
            "imageWidth": record.width,
        }
        data = json.dumps(content, indent=1, allow_nan=False).encode("ascii")
        write_file(self._out / with_suffix(image.name, "json"), data)
        if image.load is not None:
            write_file(self._out / image.name, image.load())

    def finish(self) -> None:
        """Nothing is left to do."""


class _Groups:
    """Group numbers of labelme for masks of several parts, none of them taken by the source."""

    def __init__(self, record: ImageRecord) -> None:
        given = (mask.attributes.get("group_id") for mask in record.annotations)
        self._last = max((group for group in given if isinstance(group, int)), default=0)

    def next(self) -> int:
        self._last += 1
        return self._last


def _shapes(mask: MaskRecord, mask_id: int, groups: _Groups) -> list[dict[str, Any]]:
    parts = to_inset_parts(mask.segmentation)
    known = {
        **_known(mask.category, mask.attributes),
        **details(mask, mask_id),
        **({"iscrowd": True} if mask.iscrowd else {}),
    }
    # A group of one's own, or shapes of other masks would join this one.
    known["group_id"] = groups.next() if len(parts) > 1 else None
    if not any(part.holes for part in parts):
        return [
            {
                **known,
                "points": (part.outer / STEPS).tolist(),
                "shape_type": "polygon",
                "mask": None,
            }
            for part in parts
        ]
    window, (x, y) = decode_window(mask.segmentation)
    height, width = window.shape
    patch = base64.b64encode(png.encode_bits(window)).decode("ascii")
    corners = [[x, y], [x + width - 1, y + height - 1]]
    return [{**known, "group_id": None, "points": corners, "shape_type": "mask", "mask": patch}]


def _rectangle(box: ExportedBox) -> dict[str, Any]:
    x, y, width, height = box.box_xywh
    return {
        **_known(box.category, box.attributes),
        **({"annotator": box.annotator} if box.annotator else {}),
        "points": [[x, y], [x + width, y + height]],
        "shape_type": "rectangle",
        "mask": None,
    }


def _known(category: str | None, attributes: Mapping[str, Any]) -> dict[str, Any]:
    """What every shape has, of the types that labelme expects, and the source's further fields."""
    description = attributes.get("description")
    return {
        **{k: v for k, v in attributes.items() if k not in NOT_OF_SOURCE | _SHAPE_KEYS},
        "label": UNCATEGORISED if category is None else category,
        "group_id": None,
        "description": description if isinstance(description, str) else "",
        "flags": _flags(attributes.get("flags")),
    }


def _flags(value: Any) -> dict[str, bool]:
    if not isinstance(value, dict):
        return {}
    return {str(key): flag for key, flag in value.items() if isinstance(flag, bool)}
