"""CVAT for images 1.1: one XML file with every image and its shapes.

Format: https://docs.cvat.ai/docs/dataset_management/formats/format-cvat/ and the XML annotation
format page. A `mask` is run lengths, row by row inside its tight box, background first. A box or an
ellipse may be turned, clockwise in degrees about its centre. Shapes of one label and one `group_id`
are one object; a box among them is that object's.

The file is read twice by hardened parsers that refuse every DTD, and so every entity: once to find
where each image's element lies, and then that element alone when its image is read.
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, ParseError

import numpy as np
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from sa_engine.dataset.folder.base import read_range
from sa_engine.errors import AnnotationError
from sa_engine.formats.base import Box, ImportedImage, ListedImage
from sa_engine.formats.codecs import geometry
from sa_engine.formats.fields import ENGINE_KEYS, engine_fields, text, whole_size
from sa_engine.formats.readers.cvat_scan import Scan
from sa_engine.formats.readers.gather import BoxPiece, Gatherer, Piece
from sa_engine.formats.reasons import Beside, Loss, Note

_OWN_KEYS = frozenset(
    {"label", "points", "rle", "left", "top", "width", "height", "xtl", "ytl", "xbr", "ybr"}
    | {"cx", "cy", "rx", "ry", "rotation"}
)
_IMAGE_KEYS = frozenset({"name", "width", "height"})
_ENGINE_NAMES = ENGINE_KEYS | {"annotator", "time_spent_s", "iscrowd"}
WITHOUT_AREA = frozenset({"polyline", "points", "cuboid", "skeleton"})


class CvatSource:
    """A CVAT annotation file. See `AnnotationSource`."""

    unlisted_are_empty = False

    def __init__(self, path: Path) -> None:
        self._path = path
        scan = Scan(path)
        self.images: Sequence[ListedImage] = scan.images
        self.categories: Sequence[Mapping[str, Any]] = [{"name": name} for name in scan.labels]
        self.notes: Sequence[Note] = (
            [Note(Loss.TRACK, "tracks of a video task", scan.num_tracked)]
            if scan.num_tracked
            else []
        )
        if not scan.images and scan.has_tracks:
            raise AnnotationError(
                f"{path} is of a video task: export it as 'CVAT for images 1.1' instead"
            )
        self._heads = scan.heads
        self._spans = scan.spans
        self._counts = scan.counts
        self._data = scan.recoded
        self._annotators = scan.annotators
        self.about: Mapping[str, Any] = {}

    @property
    def image_folder(self) -> str | None:
        """`images` beside the file, as in CVAT's archive, or the file's own folder."""
        beside = self._path.parent / "images"
        return str(beside if beside.is_dir() else self._path.parent)

    def size_hw(self, index: int) -> tuple[int, int] | None:
        """See `AnnotationSource.size_hw`."""
        head = self._heads[index]
        return whole_size(_real(head.get("height")), _real(head.get("width")))

    def count(self, index: int) -> int:
        """See `AnnotationSource.count`."""
        return self._counts[index]

    def read(self, index: int, size_hw: tuple[int, int]) -> ImportedImage:
        """See `AnnotationSource.read`."""
        head = self._heads[index]
        attributes: dict[str, Any] = {"file_name": self.images[index].file_name}
        attributes |= {key: value for key, value in head.items() if key not in _IMAGE_KEYS}
        gatherer = Gatherer(size_hw)
        image = self._element(index)
        if image is None:
            gatherer.lose(Loss.BAD_RECORD, self.images[index].file_name, self.count(index))
            return gatherer.finish(attributes)
        tags = [text(child.get("label")) for child in image if child.tag == "tag"]
        if tags:
            attributes["tags"] = tags
            gatherer.note(Beside.TAGS, "tags", len(tags))
        for shapes in _groups(image):
            fields = self._fields(shapes[0], self._annotators[index])
            pieces = [_piece(shape, size_hw) for shape in shapes]
            if len(shapes) > 1:
                pieces = [
                    BoxPiece(_box(shape)) if shape.tag == "box" else piece
                    for shape, piece in zip(shapes, pieces, strict=True)
                ]
            gatherer.add(fields, *pieces)
        return gatherer.finish(attributes)

    def _element(self, index: int) -> Element | None:
        span = self._spans[index]
        if span is None:
            return None
        if self._data is not None:
            data = self._data[span.offset : span.offset + span.size]
        else:
            data = read_range(self._path, span.offset, span.size)
        try:
            element: Element = fromstring(data, forbid_dtd=True)
        except (ParseError, ValueError, DefusedXmlException):
            return None
        return element

    def _fields(self, shape: Element, annotator: str | None) -> dict[str, Any]:
        extra: dict[str, Any] = {k: v for k, v in shape.attrib.items() if k not in _OWN_KEYS}
        engine, is_crowd, named = _named_attributes(shape)
        if named:
            extra["attributes"] = named
        if annotator is not None:
            engine.setdefault("annotator", annotator)
        return {
            **engine,
            "name": f"{shape.tag} {shape.get('label')!r}",
            "category": text(shape.get("label")),
            "iscrowd": is_crowd,
            "attributes": extra,
        }


def _groups(image: Element) -> list[list[Element]]:
    """The shapes of each object, in the order of their first shapes."""
    groups: dict[Any, list[Element]] = {}
    for position, shape in enumerate(image):
        if shape.tag == "tag":
            continue
        group = shape.get("group_id", "0")
        joins = group not in ("", "0") and shape.tag in ("polygon", "mask", "ellipse", "box")
        groups.setdefault((shape.get("label"), group) if joins else position, []).append(shape)
    found: list[list[Element]] = []
    for shapes in groups.values():
        # Boxes alone are several objects that lie together.
        together = any(shape.tag != "box" for shape in shapes)
        found += [shapes] if together else [[shape] for shape in shapes]
    return found


def _named_attributes(shape: Element) -> tuple[dict[str, Any], bool, dict[str, str]]:
    """A shape's `attribute` elements: the engine's own fields, the crowd mark, and the others."""
    named = {child.get("name", ""): child.text or "" for child in shape if child.tag == "attribute"}
    ours = {key: _parsed(named[key]) for key in _ENGINE_NAMES & named.keys()}
    engine, unused = engine_fields(ours, {"iscrowd"})
    is_crowd = ours.get("iscrowd") is True
    others = {
        key: value
        for key, value in named.items()
        if key not in ours or key in unused or (key == "iscrowd" and not is_crowd)
    }
    return engine, is_crowd, others


def _parsed(value: str) -> Any:
    """What a writer put down as JSON; other text as it is."""
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def _piece(shape: Element, size_hw: tuple[int, int]) -> Piece:
    match shape.tag:
        case "polygon":
            return _polygon(shape, size_hw)
        case "mask":
            return _mask(shape, size_hw)
        case "ellipse":
            cx, cy, rx, ry = (_number(shape, key) for key in ("cx", "cy", "rx", "ry"))
            degrees = _number(shape, "rotation", 0.0)
            return geometry.ellipse((cx, cy), (rx, ry), degrees=degrees, size_hw=size_hw)
        case "box":
            degrees = _number(shape, "rotation", 0.0)
            box = _box(shape)
            if box is None or degrees % 360 == 0:
                return BoxPiece(box)
            left, top, width, height = box
            center, sides = (left + width / 2, top + height / 2), (width, height)
            return geometry.rotated_box(center, sides, degrees=degrees, size_hw=size_hw)
        case _:
            return Loss.UNSUPPORTED_SHAPE if shape.tag in WITHOUT_AREA else Loss.UNKNOWN_SHAPE


def _polygon(shape: Element, size_hw: tuple[int, int]) -> Piece:
    try:
        numbers = [
            float(part)
            for point in shape.get("points", "").split(";")
            if point.strip()
            for part in point.split(",")
        ]
    except ValueError:
        return Loss.BAD_POLYGON
    return geometry.polygon([numbers], size_hw)


def _mask(shape: Element, size_hw: tuple[int, int]) -> Piece:
    left, top, width, height = (_number(shape, k) for k in ("left", "top", "width", "height"))
    if not all(map(geometry.is_whole, (left, top, width, height))):
        return Loss.BAD_SHAPE
    if max(map(abs, (left, top))) > geometry.FARTHEST or width * height > 4 * math.prod(size_hw):
        return Loss.BAD_SHAPE
    try:
        counts = np.array([int(part) for part in shape.get("rle", "").split(",")], dtype=np.int64)
    except (ValueError, OverflowError):
        return Loss.BAD_RLE
    patch = geometry.row_major_patch(counts, (int(height), int(width)))
    if patch is None:
        return Loss.BAD_RLE
    return geometry.place(patch, (int(left), int(top)), size_hw)


def _box(shape: Element) -> Box | None:
    left, top, right, bottom = (_number(shape, key) for key in ("xtl", "ytl", "xbr", "ybr"))
    return geometry.box((left, top, right - left, bottom - top))


def _number(shape: Element, key: str, default: float = math.nan) -> float:
    value = _real(shape.get(key))
    return default if value is None else value


def _real(value: str | None) -> float | None:
    try:
        return None if value is None else float(value)
    except ValueError:
        return None
