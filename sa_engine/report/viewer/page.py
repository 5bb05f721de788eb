"""The files of the viewer: one page, one file of columns to filter and sort by, a few an image.

Nothing is loaded from elsewhere. A page that is opened from a disk may not read other files, but it
may run them: so the data are scripts that call `dataset.start` and `dataset.masks`.
"""

import base64
import json
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib import resources
from typing import Any

from sa_engine.dataset.records import ImageRecord, ImageStatus, MaskRecord
from sa_engine.dataset.shards.stats import failure_reason

GENERATOR = "sa-engine show"
DATA_NAME, IMAGES_NAME = "data.js", "images"
IDS_PER_FOLDER = 1000
_SCRIPTS = ("runs.js", "columns.js", "grid.js", "pane.js", "viewer.js")
_NONE = 65535
_SCALE = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewerImage:
    """One image of the page.

    key: its id in the first set; with a letter before it if only the second set has the image.
    records: the image in each set, None where a set lacks it; at least one is there.
    matches: (position in the first, position in the second, IoU) of masks that are the same.
    suffix: of the photograph's file, ".jpg"; "" if there is none.
    """

    key: str
    records: tuple[ImageRecord | None, ...]
    matches: tuple[tuple[int, int, float], ...] = ()
    suffix: str = ""

    @property
    def record(self) -> ImageRecord:
        """The image in the first set that has it and where it did not fail, if there is one."""
        there = [record for record in self.records if record is not None]
        return next((r for r in there if r.status is ImageStatus.OK), there[0])


def folder_of(key: str) -> str:
    """The folder of an image's files, relative to the page: a thousand images in each."""
    return f"{IMAGES_NAME}/{int(key.lstrip('b')) // IDS_PER_FOLDER}"


def viewer_page(title: str) -> str:
    """The page itself; what it shows is in the files beside it."""
    web = resources.files("sa_engine.report.viewer").joinpath("web")
    parts = {
        "title": escape(title),
        "generator": GENERATOR,
        "style": web.joinpath("viewer.css").read_text("utf-8"),
        "script": "\n".join(web.joinpath(name).read_text("utf-8") for name in _SCRIPTS),
    }
    page = web.joinpath("viewer.html").read_text("utf-8")
    for name, text in parts.items():
        page = page.replace("{{" + name + "}}", text)
    return page


class ViewerColumns:
    """What is known of every image and mask, gathered image by image: some 20 bytes a mask."""

    def __init__(self, title: str, sets: Sequence[str]) -> None:
        self._title, self._sets = title, tuple(sets)
        self._images: dict[str, list[Any]] = {
            name: [] for name in ("keys", "sources", "widths", "heights", "photos", "reason")
        }
        self._errors: dict[int, str] = {}
        self._tables = [_MaskTable() for _ in sets]
        self._reasons, self._stages, self._categories = _Words(), _Words(), _Words()

    def add(self, image: ViewerImage) -> str:
        """Take an image; returns the content of its file of masks."""
        record = image.record
        failed = record.status is not ImageStatus.OK
        if failed:
            self._errors[len(self._images["keys"])] = record.error or "failed"
        values = (image.key, record.source, record.width, record.height, image.suffix)
        for name, value in zip(self._images, values, strict=False):
            self._images[name].append(value)
        reason = self._reasons.number(failure_reason(record.error)) if failed else -1
        self._images["reason"].append(reason)
        partners: list[dict[int, tuple[int, float]]] = [
            {a: (b, iou) for a, b, iou in image.matches},
            {b: (a, iou) for a, b, iou in image.matches},
        ]
        sets = []
        for number, each in enumerate(image.records):
            masks = () if each is None else each.annotations
            found = partners[number] if len(image.records) > 1 else {}
            for position, mask in enumerate(masks):
                category = -1 if mask.category is None else self._categories.number(mask.category)
                stage = self._stages.number(mask.stage.value)
                iou = found[position][1] if position in found else None
                self._tables[number].add(mask, stage, category, iou)
            self._tables[number].end()
            sets.append(
                [
                    _mask_json(mask, each.mask_id(position), found.get(position))
                    for position, mask in enumerate(masks)
                ]
                if each is not None
                else []
            )
        return f"dataset.masks({_script(image.key)}, {_script(sets)});\n"

    def data(self, note: str = "") -> str:
        """The content of the file of columns. note: a line above the images."""
        content = {
            "title": self._title,
            "sets": self._sets,
            "note": note,
            "reasons": self._reasons.words,
            "stages": self._stages.words,
            "categories": self._categories.words,
            **self._images,
            "errors": self._errors,
            "tables": [table.to_json() for table in self._tables],
        }
        return f"dataset.start({_script(content)});\n"


class _Words:
    """Words by number, in the order in which they first come."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def number(self, word: str) -> int:
        return self._numbers.setdefault(word, len(self._numbers))

    @property
    def words(self) -> list[str]:
        return list(self._numbers)


class _MaskTable:
    """The masks of one set as columns; scores in steps of 1/10,000, 65535 where there is none."""

    def __init__(self) -> None:
        self._first = array("I", [0])
        self._area = array("I")
        self._iou, self._stability, self._match = array("H"), array("H"), array("H")
        self._category = array("H")
        self._stage = array("B")

    def add(self, mask: MaskRecord, stage: int, category: int, match: float | None) -> None:
        self._area.append(min(mask.area, 2**32 - 1))
        self._iou.append(_step(mask.predicted_iou))
        self._stability.append(_step(mask.stability_score))
        self._match.append(_step(match))
        self._category.append(category if 0 <= category < _NONE else _NONE)
        self._stage.append(stage)

    def end(self) -> None:
        """The image has no more masks."""
        self._first.append(len(self._area))

    def to_json(self) -> dict[str, str]:
        columns: Mapping[str, array[int]] = {
            "first": self._first,
            "area": self._area,
            "iou": self._iou,
            "stability": self._stability,
            "match": self._match,
            "category": self._category,
            "stage": self._stage,
        }
        return {
            name: base64.b64encode(values.tobytes()).decode("ascii")
            for name, values in columns.items()
        }


def _step(value: float | None) -> int:
    return _NONE if value is None else round(min(1.0, max(0.0, value)) * _SCALE)


def _mask_json(
    mask: MaskRecord, mask_id: int, match: tuple[int, float] | None
) -> dict[str, object]:
    values = {
        "id": mask_id,
        "counts": mask.segmentation.counts,
        "box": mask.bbox_xywh,
        "area": mask.area,
        "stage": mask.stage.value,
        "iou": mask.predicted_iou,
        "stability": mask.stability_score,
        "boxScore": mask.box_score,
        "prompt": mask.prompt_box_xywh,
        "points": mask.point_coords_xy,
        "category": mask.category,
        "annotator": mask.annotator,
        "seconds": mask.time_spent_s,
        "crowd": mask.iscrowd,
        "match": match,
    }
    return {
        name: value
        for name, value in values.items()
        if value is not None and value is not False and value != ()
    }


def _script(value: object) -> str:
    """JSON that may stand in a script."""
    return json.dumps(value, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
