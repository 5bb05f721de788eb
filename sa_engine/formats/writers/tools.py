"""Writing what annotation tools take in: CVAT for images 1.1 and Label Studio's JSON."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import escape, quoteattr

import numpy as np

from sa_engine.dataset.records import MaskRecord
from sa_engine.formats.codecs import brush
from sa_engine.formats.reasons import Lossy, Note, Tally
from sa_engine.formats.writers.base_writer import ExportedImage, Survey, details, write_file
from sa_engine.masks.rle import decode, decode_window

_NOT_OF_SOURCE = frozenset({"source_id", "category_id", "import", "boxes", "reading"})
_CVAT_OWN = ("source", "occluded", "z_order")


class CvatWriter:
    """Writes `annotations.xml`, and the pictures under `images`.

    Masks are CVAT's `mask` elements, which hold every pixel. What CVAT has no place for goes into
    `attribute` elements, as text.
    """

    def __init__(self, out: Path, survey: Survey) -> None:
        self._out = out
        self._file = (out / "annotations.xml").open("w", encoding="utf-8")
        self._count = 0
        labels = "".join(
            f"<label><name>{_text(name)}</name><attributes></attributes></label>"
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
        self._file.write(f'<image id="{self._count}" name={_value(image.name)} {sides}>\n')
        self._count += 1
        for mask, mask_id in zip(record.annotations, image.mask_ids, strict=True):
            if mask.category is None:
                losses.add(Note(Lossy.CATEGORY_ADDED, f"mask {mask_id}"))
            self._file.write(_cvat_mask(mask, mask_id))
        self._file.write("</image>\n")
        if image.load is not None:
            write_file(self._out / "images" / image.name, image.load())

    def finish(self) -> None:
        """See `Writer.finish`."""
        self._file.write("</annotations>\n")
        self._file.close()


class LabelStudioWriter:
    """Writes `tasks.json`, `label_config.xml`, and the pictures under `images`.

    Masks are brush regions, which hold every pixel. What Label Studio has no place for goes into a
    region's `meta`. Pictures are linked as files of a local storage.
    """

    def __init__(self, out: Path, survey: Survey) -> None:
        self._out = out
        self._file = (out / "tasks.json").open("w", encoding="ascii")
        self._file.write("[")
        self._count = 0
        labels = "".join(f"    <Label value={_value(name)}/>\n" for name in survey.category_ids)
        config = (
            '<View>\n  <Image name="image" value="$image"/>\n'
            f'  <BrushLabels name="label" toName="image">\n{labels}  </BrushLabels>\n</View>\n'
        )
        write_file(out / "label_config.xml", config.encode())

    def add(self, image: ExportedImage, losses: Tally) -> None:
        """See `Writer.add`."""
        record = image.record
        results: dict[str | None, list[dict[str, Any]]] = {}
        for mask, mask_id in zip(record.annotations, image.mask_ids, strict=True):
            if mask.category is None:
                losses.add(Note(Lossy.CATEGORY_ADDED, f"mask {mask_id}"))
            results.setdefault(mask.annotator, []).append(_brush_region(mask, mask_id))
        task = {
            "id": record.image_id,
            "data": {"image": "/data/local-files/?d=" + quote(f"images/{image.name}")},
            "annotations": [
                {
                    **({"completed_by": {"email": annotator}} if annotator else {}),
                    "was_cancelled": False,
                    "result": regions,
                }
                for annotator, regions in results.items()
            ],
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


def _cvat_mask(mask: MaskRecord, mask_id: int) -> str:
    window, (left, top) = decode_window(mask.segmentation)
    height, width = window.shape
    flat = np.concatenate(([False], window.reshape(-1)))
    starts = np.flatnonzero(flat[1:] != flat[:-1])
    counts = np.diff(np.concatenate(([0], starts, [window.size])))
    known = mask.attributes
    own = {
        "source": known.get("source", "manual"),
        "occluded": known.get("occluded", "0"),
        "z_order": known.get("z_order", "0"),
    }
    attributes = " ".join(f"{key}={_value(value)}" for key, value in own.items())
    place = f'left="{left}" top="{top}" width="{width}" height="{height}"'
    named = known.get("attributes")
    extra = {key: value for key, value in details(mask, mask_id).items() if value is not None}
    if mask.iscrowd:
        extra["iscrowd"] = True
    extra |= {
        key: value
        for key, value in known.items()
        if key not in (*_CVAT_OWN, "attributes", "group_id") and key not in _NOT_OF_SOURCE
    }
    extra |= named if isinstance(named, dict) else {}
    inside = "".join(
        f"<attribute name={_value(key)}>{_text(value)}</attribute>" for key, value in extra.items()
    )
    label = _value(mask.category if mask.category is not None else "object")
    rle = ", ".join(map(str, counts.tolist()))
    return f'<mask label={label} {attributes} rle="{rle}" {place}>{inside}</mask>\n'


def _brush_region(mask: MaskRecord, mask_id: int) -> dict[str, Any]:
    height, width = mask.segmentation.size_hw
    known = {k: v for k, v in mask.attributes.items() if k not in _NOT_OF_SOURCE}
    meta = {**details(mask, mask_id), **({"iscrowd": True} if mask.iscrowd else {})}
    if known:
        meta["attributes"] = known
    return {
        "id": str(mask_id),
        "type": "brushlabels",
        "from_name": "label",
        "to_name": "image",
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "value": {
            "format": "rle",
            "rle": list(brush.encode(decode(mask.segmentation))),
            "brushlabels": [mask.category if mask.category is not None else "object"],
        },
        **({"meta": meta} if meta else {}),
    }


def _text(value: Any) -> str:
    return escape(_plain(value))


def _value(value: Any) -> str:
    return quoteattr(_plain(value))


def _plain(value: Any) -> str:
    """A value as text that XML can hold: no control characters, no lone surrogates."""
    text = value if isinstance(value, str) else json.dumps(value)
    clean = "".join(char if char >= " " or char in "\t\n\r" else "\ufffd" for char in text)
    return (
        clean.encode("utf-8", "replace")
        .decode()
        .replace("\ufffe", "\ufffd")
        .replace("\uffff", "\ufffd")
    )
