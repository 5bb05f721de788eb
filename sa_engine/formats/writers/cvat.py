"""Writing CVAT for images 1.1."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sa_engine.dataset.records import MaskRecord
from sa_engine.formats.reasons import Lossy, Note, Tally
from sa_engine.formats.writers.base_writer import (
    NOT_OF_SOURCE,
    UNCATEGORISED,
    ExportedBox,
    ExportedImage,
    details,
    image_details,
    write_file,
)
from sa_engine.formats.writers.survey import Survey
from sa_engine.formats.writers.xml import xml_text, xml_value
from sa_engine.masks.rle import decode_window

_OWN = ("source", "occluded", "z_order")
_IMAGE_KEYS = frozenset({"id", "subset", "task_id"})
"""What a task's images had in the project that they were exported from."""


class CvatWriter:
    """Writes `annotations.xml`, and the pictures under `images`.

    Masks are CVAT's `mask` elements, which hold every pixel; boxes without a mask are `box`
    elements, an image's tags `tag` elements. What CVAT has no place for goes into `attribute`
    elements, as text.
    """

    def __init__(self, out: Path, survey: Survey) -> None:
        self._out = out
        self._file = (out / "annotations.xml").open("w", encoding="utf-8")
        self._count = 0
        self._survey = survey
        labels = "".join(
            f"<label><name>{xml_text(name)}</name><attributes></attributes></label>"
            for name in survey.category_ids
        )
        self._file.write(
            '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n<version>1.1</version>\n'
            f"<meta><task><mode>annotation</mode><labels>{labels}</labels></task></meta>\n"
        )

    def add(self, image: ExportedImage, losses: Tally) -> None:
        """See `Writer.add`."""
        record = image.record
        sides = f'width="{record.width}" height="{record.height}"'
        self._file.write(f'<image id="{self._count}" name={xml_value(image.name)} {sides}>\n')
        self._count += 1
        for mask, mask_id in zip(record.annotations, image.mask_ids, strict=True):
            if mask.category is None:
                losses.add(Note(Lossy.CATEGORY_ADDED, f"mask {mask_id}"))
            if self._survey.shares_name(mask):
                losses.add(Note(Lossy.SAME_NAME, f"mask {mask_id}"))
            self._file.write(_mask(mask, mask_id))
        for box in image.boxes:
            if box.category is None:
                losses.add(Note(Lossy.CATEGORY_ADDED, f"box {box.box_id}"))
            self._file.write(_box(box))
        further = image_details(record)
        tags = further.pop("tags", None)
        for tag in tags if isinstance(tags, list) else ():
            self._file.write(f'<tag label={xml_value(tag)} source="manual"></tag>\n')
        if further.keys() - _IMAGE_KEYS:
            losses.add(Note(Lossy.NO_IMAGE_DETAILS, image.name, of_images=True))
        self._file.write("</image>\n")
        if image.load is not None:
            write_file(self._out / "images" / image.name, image.load())

    def finish(self) -> None:
        """See `Writer.finish`."""
        self._file.write("</annotations>\n")
        self._file.close()


def _mask(mask: MaskRecord, mask_id: int) -> str:
    window, (left, top) = decode_window(mask.segmentation)
    height, width = window.shape
    flat = np.concatenate(([False], window.reshape(-1)))
    starts = np.flatnonzero(flat[1:] != flat[:-1])
    counts = np.diff(np.concatenate(([0], starts, [window.size])))
    extra = {key: value for key, value in details(mask, mask_id).items() if value is not None}
    if mask.iscrowd:
        extra["iscrowd"] = True
    rle = ", ".join(map(str, counts.tolist()))
    place = f'rle="{rle}" left="{left}" top="{top}" width="{width}" height="{height}"'
    return _shape("mask", place, mask.category, mask.attributes, extra)


def _box(box: ExportedBox) -> str:
    x, y, width, height = box.box_xywh
    place = f'xtl="{x:.2f}" ytl="{y:.2f}" xbr="{x + width:.2f}" ybr="{y + height:.2f}"'
    extra = {"annotator": box.annotator} if box.annotator else {}
    return _shape("box", place, box.category, box.attributes, extra)


def _shape(
    tag: str, place: str, category: str | None, known: Mapping[str, Any], extra: dict[str, Any]
) -> str:
    own = {
        "source": known.get("source", "manual"),
        "occluded": known.get("occluded", "0"),
        "z_order": known.get("z_order", "0"),
    }
    attributes = " ".join(f"{key}={xml_value(value)}" for key, value in own.items())
    named = known.get("attributes")
    inside = {
        **extra,
        **{
            key: value
            for key, value in known.items()
            if key not in (*_OWN, "attributes", "group_id") and key not in NOT_OF_SOURCE
        },
        **(named if isinstance(named, dict) else {}),
    }
    elements = "".join(
        f"<attribute name={xml_value(key)}>{xml_text(value)}</attribute>"
        for key, value in inside.items()
    )
    label = xml_value(UNCATEGORISED if category is None else category)
    return f"<{tag} label={label} {attributes} {place}>{elements}</{tag}>\n"
