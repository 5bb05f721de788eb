"""CVAT for images 1.1: one XML file with every image and its shapes.

Format: https://docs.cvat.ai/docs/dataset_management/formats/format-cvat/ and the XML annotation
format page. A `mask` is run lengths, row by row inside its tight box, background first. A box or an
ellipse may be turned, clockwise in degrees about its centre. Shapes of one label and one `group_id`
are one object.

The file is read twice by hardened parsers that refuse every DTD, and so every entity: once to find
where each image's element lies, and then that element alone when its image is read.
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, ParseError
from xml.parsers import expat

import numpy as np
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from sa_engine.dataset.storage import read_range
from sa_engine.errors import AnnotationError
from sa_engine.formats import geometry
from sa_engine.formats.base import Box, ImportedImage, ListedImage
from sa_engine.formats.fields import ENGINE_KEYS, engine_fields, text, whole_size
from sa_engine.formats.gather import Gatherer, Piece
from sa_engine.formats.jsonfile import Span
from sa_engine.formats.reasons import Loss, Note

_CHUNK = 1 << 20
_OWN_KEYS = frozenset(
    {"label", "points", "rle", "left", "top", "width", "height", "xtl", "ytl", "xbr", "ybr"}
    | {"cx", "cy", "rx", "ry", "rotation"}
)
_IMAGE_KEYS = frozenset({"name", "width", "height"})
_ENGINE_NAMES = ENGINE_KEYS | {"annotator", "time_spent_s", "iscrowd"}
_SHAPES = frozenset({"polygon", "mask", "ellipse", "box"})
_WITHOUT_AREA = frozenset({"polyline", "points", "cuboid", "skeleton"})


class CvatSource:
    """A CVAT annotation file. See `AnnotationSource`."""

    unlisted_are_empty = False

    def __init__(self, path: Path) -> None:
        self._path = path
        scan = _Scan(path)
        self.images: Sequence[ListedImage] = scan.images
        self.categories: Sequence[Mapping[str, Any]] = [{"name": name} for name in scan.labels]
        self.notes: Sequence[Note] = (
            [Note(Loss.UNSUPPORTED_SHAPE, "tracks of a video task", scan.num_tracks)]
            if scan.num_tracks
            else []
        )
        if not scan.images and scan.num_tracks:
            raise AnnotationError(
                f"{path} is of a video task: export it as 'CVAT for images 1.1' instead"
            )
        self._heads = scan.heads
        self._spans = scan.spans
        self._counts = scan.counts
        self._data = scan.recoded
        self._annotator = scan.annotator

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
            for _ in range(self.count(index)):
                gatherer.lose(Loss.BAD_RECORD, self.images[index].file_name)
            return gatherer.finish(attributes)
        tags = [text(child.get("label")) for child in image if child.tag == "tag"]
        if tags:
            attributes["tags"] = tags
        for shapes in _groups(image):
            fields = self._fields(shapes[0])
            if shapes[0].tag in _WITHOUT_AREA:
                gatherer.lose(Loss.UNSUPPORTED_SHAPE, fields["name"])
            elif len(shapes) == 1 and _is_plain_box(shapes[0]):
                gatherer.add_box(fields, _box(shapes[0]))
            else:
                gatherer.add(fields, *(_piece(shape, size_hw) for shape in shapes))
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

    def _fields(self, shape: Element) -> dict[str, Any]:
        extra: dict[str, Any] = {k: v for k, v in shape.attrib.items() if k not in _OWN_KEYS}
        engine, is_crowd, named = _named_attributes(shape)
        if named:
            extra["attributes"] = named
        if self._annotator is not None:
            engine.setdefault("annotator", self._annotator)
        return {
            **engine,
            "name": f"{shape.tag} {shape.get('label')!r}",
            "category": text(shape.get("label")),
            "iscrowd": is_crowd,
            "attributes": extra,
        }


class _Scan:
    """A first pass: the head of every image and where its element lies."""

    def __init__(self, path: Path) -> None:
        self.images: list[ListedImage] = []
        self.heads: list[dict[str, str]] = []
        self.spans: list[Span | None] = []
        self.counts: list[int] = []
        self.labels: list[str] = []
        self.annotator: str | None = None
        self.num_tracks = 0
        self.recoded: bytes | None = None
        self._path = path
        self._open: list[str] = []
        self._text = ""
        self._start = -1
        self._ends: list[tuple[int, int]] = []
        try:
            self._encoding = _encoding_without_declaration(path)
            self._parse()
            if self._encoding not in ("utf-8", "us-ascii", "ascii"):
                self._recode()
            self._measure()
        except OSError as error:
            raise AnnotationError(f"cannot read {path}: {error.strerror or error}") from error
        except expat.ExpatError as error:
            raise AnnotationError(f"{path} is not whole XML: {error}") from error

    def _parse(self, data: bytes | None = None) -> None:
        parser = expat.ParserCreate()
        self._parser = parser
        parser.buffer_text = True
        parser.XmlDeclHandler = self._declare
        parser.StartDoctypeDeclHandler = self._refuse
        parser.EntityDeclHandler = self._refuse
        parser.ExternalEntityRefHandler = self._refuse
        parser.StartElementHandler = self._begin
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._hear
        if data is not None:
            parser.Parse(data, True)
        else:
            with self._path.open("rb") as file:
                while block := file.read(_CHUNK):
                    parser.Parse(block, False)
                parser.Parse(b"", True)
        del self._parser

    def _declare(self, _version: str, encoding: str | None, _standalone: int) -> None:
        if encoding and self.recoded is None and not self._encoding.startswith("utf-16"):
            self._encoding = encoding.lower()

    def _refuse(self, *_: Any) -> int:
        raise AnnotationError(
            f"{self._path} has a DTD or entities, which CVAT does not write: it was not read, "
            "for such files can be made to fill the memory or to read others"
        )

    def _begin(self, tag: str, attributes: dict[str, str]) -> None:
        self._open.append(tag)
        self._text = ""
        depth = len(self._open)
        if depth == 1 and tag != "annotations":
            raise AnnotationError(f"{self._path} is not CVAT's: it begins with <{tag}>")
        if depth == 2 and tag == "image":
            name = text(attributes.get("name")) or f"image {attributes.get('id')}"
            self.images.append(ListedImage(name))
            self.heads.append(attributes)
            self.counts.append(0)
            self._start = self._parser.CurrentByteIndex
        elif depth == 2 and tag == "track":
            self.num_tracks += 1
        elif depth == 3 and self._open[1] == "image" and tag in _SHAPES | _WITHOUT_AREA:
            self.counts[-1] += 1

    def _end(self, _tag: str) -> None:
        path = self._open[1:]
        self._open.pop()
        if path == ["image"]:
            self._ends.append((self._start, self._parser.CurrentByteIndex))
        elif path[:1] == ["meta"]:
            if path[-2:] == ["label", "name"] and self._text.strip():
                self.labels.append(self._text.strip())
            elif path[-2:] == ["assignee", "username"] and self._text.strip():
                self.annotator = self._text.strip()

    def _hear(self, part: str) -> None:
        if self._open[1:2] == ["meta"]:
            self._text += part

    def _measure(self) -> None:
        """Spans of the elements; None for one without children, whose head says all."""
        for start, end in self._ends:
            if end <= start:
                self.spans.append(None)
                continue
            tail = (
                self.recoded[end : end + 256]
                if self.recoded is not None
                else read_range(self._path, end, 256)
            )
            self.spans.append(Span(start, end + tail.index(b">") + 1 - start))

    def _recode(self) -> None:
        """Elements can only be read alone in an encoding that needs no declaration."""
        try:
            whole = self._path.read_bytes().decode(self._encoding)
        except (LookupError, UnicodeDecodeError) as error:
            raise AnnotationError(
                f"{self._path} is not in the encoding that it names: {error}"
            ) from error
        declaration = whole.index("?>") + 2 if whole.lstrip("\ufeff").startswith("<?xml") else 0
        whole = whole if declaration else whole.lstrip("\ufeff")
        recoded = b'<?xml version="1.0" encoding="utf-8"?>' + whole[declaration:].encode()
        self.images, self.heads, self.counts, self.labels = [], [], [], []
        self.num_tracks, self._ends = 0, []
        self.recoded = recoded
        self._parse(recoded)


def _encoding_without_declaration(path: Path) -> str:
    """What an XML file's first bytes say."""
    with path.open("rb") as file:
        head = file.read(2)
    return {
        b"\xff\xfe": "utf-16",
        b"\xfe\xff": "utf-16",
        b"<\0": "utf-16-le",
        b"\0<": "utf-16-be",
    }.get(head, "utf-8")


def _groups(image: Element) -> list[list[Element]]:
    """The shapes of each object, in the order of their first shapes."""
    groups: dict[Any, list[Element]] = {}
    for position, shape in enumerate(image):
        if shape.tag not in _SHAPES | _WITHOUT_AREA:
            continue
        group = shape.get("group_id", "0")
        joins = group not in ("", "0") and shape.tag in ("polygon", "mask", "ellipse")
        groups.setdefault((shape.get("label"), group) if joins else position, []).append(shape)
    return list(groups.values())


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
        case _:
            left, top, right, bottom = (_number(shape, key) for key in ("xtl", "ytl", "xbr", "ybr"))
            center, sides = ((left + right) / 2, (top + bottom) / 2), (right - left, bottom - top)
            degrees = _number(shape, "rotation", 0.0)
            return geometry.rotated_box(center, sides, degrees=degrees, size_hw=size_hw)


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


def _is_plain_box(shape: Element) -> bool:
    return shape.tag == "box" and _number(shape, "rotation", 0.0) % 360 == 0


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
