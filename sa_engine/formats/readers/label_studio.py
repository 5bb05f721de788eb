"""Label Studio's JSON export: tasks, each with what one or more people annotated.

Format: https://labelstud.io/guide/export.html and the pages of its tags. Coordinates are percent of
the picture; a rectangle turns about its top left corner, an ellipse about its centre, clockwise; a
brush mask is a bit stream of its own (see `brush`). Regions and answers that share an `id` belong
together.
"""

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np

from sa_engine.errors import AnnotationError
from sa_engine.formats.base import Box, ImportedImage, ListedImage
from sa_engine.formats.codecs import brush, geometry
from sa_engine.formats.codecs.jsonfile import ByteSpan, JsonFile
from sa_engine.formats.fields import engine_fields, keepable, number, text, whole_size
from sa_engine.formats.readers.gather import Gatherer, Piece
from sa_engine.formats.reasons import Loss, Note
from sa_engine.masks.rle import encode

_UPLOAD_PREFIX = re.compile(r"^[0-9a-f]{8}-")
_IMAGE_KEYS = ("image", "img", "photo", "picture", "url")
_IMAGE_NAME = re.compile(r"\.(jpe?g|png|webp|tiff?|bmp|gif|avif|jp2)($|[?&#])", re.IGNORECASE)
_REGIONS = {
    "polygonlabels": "polygon",
    "polygon": "polygon",
    "brushlabels": "brush",
    "brush": "brush",
    "rectanglelabels": "rectangle",
    "rectangle": "rectangle",
    "ellipselabels": "ellipse",
    "ellipse": "ellipse",
    "keypointlabels": "keypoint",
    "keypoint": "keypoint",
    "vectorlabels": "vector",
    "vector": "vector",
    "videorectangle": "video",
}


class LabelStudioSource:
    """A Label Studio JSON export. See `AnnotationSource`."""

    unlisted_are_empty = False

    def __init__(self, path: Path) -> None:
        self._file = JsonFile(path)
        if self._file.outermost() != "[":
            raise AnnotationError(f"{path} is not a list of Label Studio's tasks")
        self.categories: Sequence[Mapping[str, Any]] = ()
        images: list[ListedImage] = []
        notes: list[Note] = []
        self._spans: list[ByteSpan] = []
        self._counts: list[int] = []
        self._answered: list[bool] = []
        self._sizes: list[tuple[int, int] | None] = []
        for element in self._file.elements():
            task = element.value
            listed = _listed(task)
            if listed is None:
                what = f"task at byte {element.span.offset}"
                notes.append(Note(Loss.NO_FILE_NAME, what, of_images=True))
                continue
            results = [r for answer in _answers(task) for r in _results(answer)]
            images.append(listed)
            self._answered.append(any(not a.get("was_cancelled") for a in _answers(task)))
            self._spans.append(element.span)
            self._counts.append(sum(_kind(r) in _REGIONS for r in results))
            sizes = (whole_size(r.get("original_height"), r.get("original_width")) for r in results)
            self._sizes.append(next((size for size in sizes if size), None))
        self.images: Sequence[ListedImage] = images
        self.notes: Sequence[Note] = notes

    @property
    def image_folder(self) -> str | None:
        """`images` beside the file, or the file's own folder."""
        beside = self._file.path.parent / "images"
        return str(beside if beside.is_dir() else self._file.path.parent)

    def size_hw(self, index: int) -> tuple[int, int] | None:
        """See `AnnotationSource.size_hw`."""
        return self._sizes[index]

    def count(self, index: int) -> int:
        """See `AnnotationSource.count`."""
        return self._counts[index]

    def is_answered(self, index: int) -> bool:
        """Whether anybody has submitted an answer to the task, be it an empty one."""
        return self._answered[index]

    def read(self, index: int, size_hw: tuple[int, int]) -> ImportedImage:
        """See `AnnotationSource.read`."""
        task, _ = self._file.value(self._spans[index])
        gatherer = Gatherer(size_hw)
        for answer in _answers(task):
            _read_answer(answer, gatherer)
        predictions = task.get("predictions")
        for prediction in predictions if isinstance(predictions, list) else ():
            if isinstance(prediction, dict):
                for result in _results(prediction):
                    if _kind(result) in _REGIONS:
                        gatherer.lose(Loss.PREDICTION, _name(result))
        data = task.get("data")
        known = {"source_id": task.get("id"), "file_name": self.images[index].file_name}
        times = [number(answer.get("lead_time")) for answer in _answers(task)]
        if any(time is not None for time in times):
            known["lead_time_s"] = sum(time for time in times if time is not None)
        return gatherer.finish(keepable({**known, "data": data}))


def _listed(task: Any) -> ListedImage | None:
    data = task.get("data") if isinstance(task, dict) else None
    if not isinstance(data, dict):
        return None
    links = [data.get(key) for key in _IMAGE_KEYS]
    links += [
        value for value in data.values() if isinstance(value, str) and _IMAGE_NAME.search(value)
    ]
    link = next((value for value in links if isinstance(value, str) and value), None)
    if link is None:
        return None
    parts = urlsplit(link) if "://" in link or link.startswith("/") else None
    # Files of a mounted folder are asked for as /data/local-files/?d=folder/name.jpg.
    served = parse_qs(parts.query).get("d", [""])[0] if parts else ""
    path = served or (unquote(parts.path) if parts else link)
    # Uploads are stored under a name of their own: 8 hex digits, a dash, and the name.
    whole = path.replace("\\", "/").lstrip("/")
    last = whole.rpartition("/")[2]
    original = _UPLOAD_PREFIX.sub("", last)
    stored = whole.removeprefix("data/upload/").removeprefix("data/")
    names = dict.fromkeys(name for name in (stored, last, original) if name)
    if ".." in whole.split("/"):
        names = dict.fromkeys((whole, original))
    first, *others = (text(name) or "" for name in names) if names else ("",)
    return ListedImage(first, tuple(others)) if first else None


def _answers(task: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """What people gave; `completions` is its name in exports of before version 1.0."""
    given = task.get("annotations", task.get("completions"))
    return [a for a in given if isinstance(a, dict)] if isinstance(given, list) else []


def _results(answer: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    given = answer.get("result")
    return (
        [result for result in given if isinstance(result, dict)] if isinstance(given, list) else []
    )


def _kind(result: Mapping[str, Any]) -> str:
    """A result's type; "" if it is no text."""
    kind = result.get("type")
    return kind if isinstance(kind, str) else ""


def _read_answer(answer: Mapping[str, Any], gatherer: Gatherer) -> None:
    results = _results(answer)
    regions = [result for result in results if _kind(result) in _REGIONS]
    cancelled = bool(answer.get("was_cancelled"))
    answers = _answers_by_region(results)
    about = {"annotator": _annotator(answer.get("completed_by"))}
    lead_time = number(answer.get("lead_time"))
    if lead_time is not None and len(regions) == 1:
        about["time_spent_s"] = lead_time  # type: ignore[assignment]  # fields differ in type
    for region in regions:
        name = _name(region)
        if cancelled:
            gatherer.lose(Loss.CANCELLED, name)
            continue
        value = region.get("value")
        if not isinstance(value, dict):
            gatherer.lose(Loss.BAD_RECORD, name)
            continue
        extra = dict(answers.get(str(region.get("id")), {}))
        if lead_time is not None and len(regions) > 1:
            # The time of the whole answer, which nobody can divide among its regions.
            extra["lead_time_s"] = lead_time
        labels = value.get(_kind(region))
        if not isinstance(labels, list):
            labels = extra.get("labels") if isinstance(extra.get("labels"), list) else []
        if labels and len(labels) > 1:
            extra["labels"] = keepable(labels)
        kept = ("id", "score", "origin", "parentID", "hidden", "locked")
        extra |= {key: keepable(region[key]) for key in kept if region.get(key)}
        given = region.get("meta")
        meta = given if isinstance(given, dict) else {}
        engine, further = engine_fields(meta, {"iscrowd", "attributes"})
        if further:
            extra["meta"] = further
        attributes = keepable(meta.get("attributes"))
        fields = {
            **{key: value for key, value in about.items() if value is not None},
            **engine,
            "name": name,
            "category": text(labels[0]) if labels else None,
            "iscrowd": meta.get("iscrowd") is True,
            "attributes": {**(attributes if isinstance(attributes, dict) else {}), **extra},
        }
        if (number(region.get("image_rotation")) or 0) % 360:
            gatherer.lose(Loss.ROTATED_VIEW, name)
        elif _REGIONS[_kind(region)] == "rectangle" and not _rotation(value):
            gatherer.add_box(fields, _rectangle(value, gatherer.size_hw))
        else:
            gatherer.add(fields, _piece(region, value, gatherer.size_hw))


def _answers_by_region(results: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Answers to questions about one region: {region id: {question: answer}}."""
    found: dict[str, dict[str, Any]] = {}
    for result in results:
        kind, value = _kind(result), result.get("value")
        if kind in _REGIONS or not isinstance(value, dict) or "id" not in result:
            continue
        key = "labels" if kind == "labels" else str(result.get("from_name", kind))
        found.setdefault(str(result["id"]), {})[key] = keepable(value.get(kind))
    return found


def _annotator(completed_by: Any) -> str | None:
    if isinstance(completed_by, dict):
        return text(completed_by.get("email")) or text(completed_by.get("id"))
    return text(completed_by)


def _name(region: Mapping[str, Any]) -> str:
    return f"region {region.get('id')}"


def _piece(region: Mapping[str, Any], value: Mapping[str, Any], size_hw: tuple[int, int]) -> Piece:
    height, width = size_hw
    match _REGIONS[_kind(region)]:
        case "polygon":
            points = value.get("points")
            try:
                ring = np.asarray(points, dtype=np.float64) * (width / 100, height / 100)
            except (TypeError, ValueError, OverflowError):
                return Loss.BAD_POLYGON
            return geometry.ring_of_points(ring, size_hw)
        case "brush":
            return _brush(value, size_hw)
        case "ellipse":
            x, y, rx, ry = (_percent(value, key) for key in ("x", "y", "radiusX", "radiusY"))
            center, radii = (x * width, y * height), (rx * width, ry * height)
            return geometry.ellipse(center, radii, degrees=_rotation(value), size_hw=size_hw)
        case "rectangle":
            x, y, w, h = (_percent(value, key) for key in ("x", "y", "width", "height"))
            angle = math.radians(_rotation(value))
            half_x, half_y = w * width / 2, h * height / 2
            center = (
                x * width + half_x * math.cos(angle) - half_y * math.sin(angle),
                y * height + half_x * math.sin(angle) + half_y * math.cos(angle),
            )
            sides = (2 * half_x, 2 * half_y)
            degrees = _rotation(value)
            return geometry.rotated_box(center, sides, degrees=degrees, size_hw=size_hw)
        case _:
            return Loss.UNSUPPORTED_SHAPE


def _brush(value: Mapping[str, Any], size_hw: tuple[int, int]) -> Piece:
    stream = value.get("rle")
    if value.get("format") != "rle" or not isinstance(stream, list):
        return Loss.BAD_RLE
    try:
        mask = brush.decode(bytes(stream), size_hw)
    except (TypeError, ValueError):
        return Loss.BAD_RLE
    return (encode(mask), ()) if mask.any() else Loss.EMPTY


def _rectangle(value: Mapping[str, Any], size_hw: tuple[int, int]) -> Box | None:
    height, width = size_hw
    x, y, w, h = (_percent(value, key) for key in ("x", "y", "width", "height"))
    return geometry.box((x * width, y * height, w * width, h * height))


def _percent(value: Mapping[str, Any], key: str) -> float:
    found = number(value.get(key))
    return math.nan if found is None else found / 100


def _rotation(value: Mapping[str, Any]) -> float:
    """Degrees clockwise, [0, 360)."""
    return (number(value.get("rotation")) or 0.0) % 360
