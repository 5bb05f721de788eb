"""The regions of Label Studio's results: what kind each is, and its mask or box.

Format: https://labelstud.io/guide/task_format.html and the pages of its image tags. Coordinates are
percent of the picture; a rectangle turns about its top left corner, an ellipse about its centre,
clockwise; a brush mask is a bit stream of its own (see `brush`), a bitmask a PNG as a data URL,
transparent outside. A result is told by what its value holds where its type is not known, and what
is no known geometry is still a region.
"""

import base64
import binascii
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sa_engine.errors import AnnotationError
from sa_engine.formats.codecs import brush, geometry, png
from sa_engine.formats.fields import engine_fields, keepable, number, text
from sa_engine.formats.readers.gather import BoxPiece, Gatherer, Piece
from sa_engine.formats.reasons import Loss
from sa_engine.masks.rle import encode

_ANSWERS = frozenset(
    {"choices", "datetime", "labels", "number", "pairwise", "ranker", "rating", "relation"}
    | {"taxonomy", "textarea"}
)
"""Types of results that say something of a region or a task. They may repeat a region's place."""

_KINDS = {"magicwand": "brush"}
_KNOWN = frozenset({"polygon", "brush", "bitmask", "rectangle", "ellipse", "keypoint", "vector"})
_BY_CONTENT = (
    ("rle", "brush"),
    ("imageDataURL", "bitmask"),
    ("points", "polygon"),
    ("vertices", "vector"),
    ("radiusX", "ellipse"),
    ("height", "rectangle"),
    ("x", "keypoint"),
)
"""Members of a value that tell its geometry, the surest first."""


def regions_of(results: Sequence[Any]) -> list[Any]:
    """The results that are regions, sound or not."""
    drawn = {_id(each) for each in results if kind_of(each) not in _ANSWERS}
    return [
        each
        for each in results
        if kind_of(each) not in _ANSWERS or (_has_place(each) and _id(each) not in drawn)
    ]


def answers_of(results: Sequence[Any]) -> dict[str, dict[str, Any]]:
    """Answers to questions: {region id, "" for the whole task: {question: answer}}."""
    regions = [id(each) for each in regions_of(results)]
    of_regions = {_id(each) for each in results if id(each) in regions}
    found: dict[str, dict[str, Any]] = {}
    for each in results:
        kind = kind_of(each)
        if id(each) in regions or kind == "relation" or not isinstance(each.get("value"), dict):
            continue
        key = "labels" if kind == "labels" else str(each.get("from_name", kind))
        region = _id(each) if _id(each) in of_regions else ""
        found.setdefault(region, {})[key] = keepable(each["value"].get(kind))
    return found


def read_answer(
    answer: Mapping[str, Any],
    results: Sequence[Any],
    regions: Sequence[Any],
    gatherer: Gatherer,
    *,
    loss: Loss | None = None,
) -> None:
    """Take the regions of what one person, or a model, answered about a task.

    results: all that the answer holds. regions: those that are of the picture at hand.
    loss: why none of them can be taken; None if they can.
    """
    answers = answers_of(results)
    about: dict[str, Any] = {"annotator": _annotator(answer.get("completed_by"))}
    lead_time = number(answer.get("lead_time"))
    is_alone = len(regions_of(results)) == 1
    if is_alone:
        about["time_spent_s"] = lead_time
    for region in regions:
        name = _name(region)
        value = region.get("value") if isinstance(region, dict) else None
        if loss is not None or not isinstance(value, dict):
            gatherer.lose(loss or Loss.BAD_RECORD, name)
            continue
        extra = dict(answers.get(_id(region), {}))
        if lead_time is not None and not is_alone:
            # The time of the whole answer, which nobody can divide among its regions.
            extra["lead_time_s"] = lead_time
        known = {key: value for key, value in about.items() if value is not None}
        gatherer.add(
            {**known, **_fields(region, value, extra, name)},
            _piece(region, value, gatherer.size_hw),
        )


def _fields(
    region: Mapping[str, Any], value: Mapping[str, Any], extra: dict[str, Any], name: str
) -> dict[str, Any]:
    labels = value.get(kind_of(region))
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
    return {
        **engine,
        "name": name,
        "category": text(labels[0]) if labels else None,
        "iscrowd": meta.get("iscrowd") is True,
        "attributes": {**(attributes if isinstance(attributes, dict) else {}), **extra},
    }


def kind_of(result: Any) -> str:
    """A result's type; "" if it is no text."""
    kind = result.get("type") if isinstance(result, dict) else None
    return kind if isinstance(kind, str) else ""


def _geometry(result: Mapping[str, Any], value: Mapping[str, Any]) -> str | None:
    kind = kind_of(result).removesuffix("labels")
    kind = _KINDS.get(kind, kind)
    if kind == "brush" and "rle" not in value and "imageDataURL" in value:
        return "bitmask"
    if kind in _KNOWN:
        return kind
    return next((found for key, found in _BY_CONTENT if key in value), None)


def _has_place(result: Any) -> bool:
    value = result.get("value") if isinstance(result, dict) else None
    return isinstance(value, dict) and any(key in value for key, _ in _BY_CONTENT)


def _id(result: Any) -> str:
    return str(result.get("id", "")) if isinstance(result, dict) else ""


def _annotator(completed_by: Any) -> str | None:
    if isinstance(completed_by, dict):
        return text(completed_by.get("email")) or text(completed_by.get("id"))
    return text(completed_by)


def _name(region: Any) -> str:
    return f"region {region.get('id')}" if isinstance(region, dict) else "a region"


def _piece(region: Mapping[str, Any], value: Mapping[str, Any], size_hw: tuple[int, int]) -> Piece:
    if (number(region.get("image_rotation")) or 0) % 360:
        return Loss.ROTATED_VIEW
    height, width = size_hw
    match _geometry(region, value):
        case "polygon":
            return _ring(value.get("points"), size_hw)
        case "brush":
            return _brush(value, size_hw)
        case "bitmask":
            return _bitmask(value, size_hw)
        case "ellipse":
            x, y, rx, ry = (_percent(value, key) for key in ("x", "y", "radiusX", "radiusY"))
            center, radii = (x * width, y * height), (rx * width, ry * height)
            return geometry.ellipse(center, radii, degrees=_rotation(value), size_hw=size_hw)
        case "rectangle":
            return _rectangle(value, size_hw)
        case "vector":
            return _vector(value, size_hw)
        case "keypoint":
            return Loss.UNSUPPORTED_SHAPE
        case _:
            return Loss.UNKNOWN_SHAPE


def _ring(points: Any, size_hw: tuple[int, int]) -> Piece:
    height, width = size_hw
    try:
        ring = np.asarray(points, dtype=np.float64) * (width / 100, height / 100)
    except (TypeError, ValueError, OverflowError):
        return Loss.BAD_POLYGON
    return geometry.ring_of_points(ring, size_hw)


def _vector(value: Mapping[str, Any], size_hw: tuple[int, int]) -> Piece:
    """A closed path of straight lines is a polygon; anything else has no area that is known."""
    vertices = value.get("vertices")
    if value.get("closed") is not True or not isinstance(vertices, list):
        return Loss.UNSUPPORTED_SHAPE
    if any(not isinstance(each, dict) or each.get("isBezier") for each in vertices):
        return Loss.UNSUPPORTED_SHAPE
    return _ring([[each.get("x"), each.get("y")] for each in vertices], size_hw)


def _bitmask(value: Mapping[str, Any], size_hw: tuple[int, int]) -> Piece:
    url = value.get("imageDataURL")
    if not isinstance(url, str) or ";base64," not in url:
        return Loss.BAD_SHAPE
    try:
        data = base64.b64decode(url.partition(";base64,")[2])
        mask = png.read_opaque(data, max_pixels=4 * size_hw[0] * size_hw[1])
    except (AnnotationError, binascii.Error, ValueError):
        return Loss.BAD_SHAPE
    if mask.shape != size_hw:
        return Loss.IMAGE_SIZE
    return (encode(mask), ()) if mask.any() else Loss.EMPTY


def _brush(value: Mapping[str, Any], size_hw: tuple[int, int]) -> Piece:
    stream = value.get("rle")
    if value.get("format") != "rle" or not isinstance(stream, list):
        return Loss.BAD_RLE
    try:
        mask = brush.decode(bytes(stream), size_hw)
    except (TypeError, ValueError):
        return Loss.BAD_RLE
    return (encode(mask), ()) if mask.any() else Loss.EMPTY


def _rectangle(value: Mapping[str, Any], size_hw: tuple[int, int]) -> Piece:
    height, width = size_hw
    x, y, w, h = (_percent(value, key) for key in ("x", "y", "width", "height"))
    degrees = _rotation(value)
    if not degrees:
        return BoxPiece(geometry.box((x * width, y * height, w * width, h * height)))
    angle = math.radians(degrees)
    half_x, half_y = w * width / 2, h * height / 2
    center = (
        x * width + half_x * math.cos(angle) - half_y * math.sin(angle),
        y * height + half_x * math.sin(angle) + half_y * math.cos(angle),
    )
    return geometry.rotated_box(center, (2 * half_x, 2 * half_y), degrees=degrees, size_hw=size_hw)


def _percent(value: Mapping[str, Any], key: str) -> float:
    found = number(value.get(key))
    return math.nan if found is None else found / 100


def _rotation(value: Mapping[str, Any]) -> float:
    """Degrees clockwise, [0, 360)."""
    return (number(value.get("rotation")) or 0.0) % 360
