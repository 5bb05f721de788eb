"""PASCAL VOC's XML files: an image's objects with their boxes, and polygons from some tools.

Format: "The PASCAL Visual Object Classes Challenge 2012 Development Kit", section 4; supervision
and Roboflow add a `polygon` of x1, y1, x2, y2, …. Coordinates are pixels counted from 1, the last
one of a box included. Which image: `filename`, else the image of the file's own name. Files are
parsed hardened: one with a DTD is refused.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from sa_engine.errors import AnnotationError
from sa_engine.formats.base import Box, ImportedImage, ListedImage
from sa_engine.formats.codecs import geometry
from sa_engine.formats.fields import text, whole_size
from sa_engine.formats.readers.folders import AnnotationFile, FilePerImage, files_below, stem
from sa_engine.formats.readers.gather import BoxPiece, Gatherer, Piece

_FILE_NAME = re.compile(rb"<filename>\s*([^<]+?)\s*</filename>")
_HEAD = 4096
_MARKS = ("pose", "truncated", "occluded", "difficult")


@dataclass(frozen=True, slots=True)
class VocObject:
    """An object of a file: its class, its box (x, y, width, height) in pixels, and its outline.

    box_xywh: None if it is damaged. ring: x, y, x, y, …; None if it has none.
    """

    category: str | None
    box_xywh: Box | None
    ring: list[float] | None
    attributes: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class VocFile:
    """What a file says: (height, width) of its image, and the objects."""

    size_hw: tuple[int, int] | None
    objects: tuple[VocObject, ...]


class VocXmlSource(FilePerImage[VocFile]):
    """A folder of PASCAL VOC's XML files, or one of them. See `AnnotationSource`."""

    def __init__(self, path: Path) -> None:
        super().__init__(files_below(path, (".xml",)))
        self._root = path if path.is_dir() else path.parent
        self.images = [_listed(file) for file in self._files]

    @property
    def image_folder(self) -> str | None:
        """`JPEGImages` in or beside the folder of the files, or that folder."""
        for root in (self._root, self._root.absolute().parent):
            if (root / "JPEGImages").is_dir():
                return str(root / "JPEGImages")
        return str(self._root)

    def size_hw(self, index: int) -> tuple[int, int] | None:
        """See `AnnotationSource.size_hw`."""
        content = self.content(index)
        return None if content is None else content.size_hw

    def count(self, index: int) -> int:
        """See `AnnotationSource.count`."""
        content = self.content(index)
        return 1 if content is None else len(content.objects)

    def read(self, index: int, size_hw: tuple[int, int]) -> ImportedImage:
        """See `AnnotationSource.read`."""
        content = self.content(index)
        if content is None:
            return self.unreadable(index)
        gatherer = Gatherer(size_hw)
        for number, each in enumerate(content.objects):
            piece: Piece = BoxPiece(each.box_xywh)
            if each.ring is not None:
                piece = geometry.polygon([each.ring], size_hw)
            fields = {"category": each.category, "attributes": each.attributes}
            gatherer.add({"name": f"object {number}", **fields}, piece)
        return gatherer.finish({"file_name": self.images[index].file_name})

    def parse(self, data: bytes) -> VocFile:
        """The size and the objects of a file."""
        return parse(data)


def parse(data: bytes) -> VocFile:
    """A file's content. AnnotationError if it is none of VOC's."""
    try:
        root: Element = fromstring(data, forbid_dtd=True)
    except (ParseError, ValueError, LookupError, DefusedXmlException) as error:
        raise AnnotationError(f"it is not XML: {error}") from error
    if root.tag != "annotation":
        raise AnnotationError(f"it begins with <{root.tag}>, not <annotation>")
    height, width = (_number(root, f"size/{side}") for side in ("height", "width"))
    return VocFile(whole_size(height, width), tuple(map(_object, root.findall("object"))))


def _object(element: Element) -> VocObject:
    corners = [_number(element, f"bndbox/{key}") for key in ("xmin", "ymin", "xmax", "ymax")]
    left, top, right, bottom = (float("nan") if value is None else value for value in corners)
    outline = element.find("polygon")
    marks = {key: value for key in _MARKS if (value := element.findtext(key))}
    return VocObject(
        text(element.findtext("name")),
        geometry.box((left - 1, top - 1, right - left + 1, bottom - top + 1)),
        None if outline is None else _ring(outline),
        marks,
    )


def _ring(outline: Element) -> list[float]:
    values = {child.tag: child.text for child in outline}
    found: list[float] = []
    place = 1
    while f"x{place}" in values and f"y{place}" in values:
        for axis in "xy":
            try:
                found.append(float(values[f"{axis}{place}"] or "") - 1)
            except ValueError:
                found.append(float("nan"))
        place += 1
    return found


def _number(element: Element, path: str) -> float | None:
    try:
        return float(element.findtext(path) or "")
    except ValueError:
        return None


def _listed(file: AnnotationFile) -> ListedImage:
    own = stem(file.name)
    try:
        found = _FILE_NAME.search(file.read_head(_HEAD))
    except AnnotationError:
        found = None
    name = text(found[1].decode("utf-8", "replace")) if found else None
    return ListedImage(name or own, any_ending=(own,))


def boxes_beside(objects: Sequence[VocObject], boxes_xywh: Sequence[Box]) -> list[VocObject]:
    """The objects that have none of an image's masks, told by the boxes of these.

    A mask's box belongs to the object whose box overlaps it most, by IoU of a half and more.
    """
    taken: set[int] = set()
    for box in boxes_xywh:
        overlaps = [
            0.0 if each.box_xywh is None or place in taken else _iou(each.box_xywh, box)
            for place, each in enumerate(objects)
        ]
        if overlaps and max(overlaps) >= 0.5:
            taken.add(overlaps.index(max(overlaps)))
    return [each for place, each in enumerate(objects) if place not in taken]


def _iou(first: Box, second: Box) -> float:
    x, y, w, h = first
    u, v, s, t = second
    shared = max(0.0, min(x + w, u + s) - max(x, u)) * max(0.0, min(y + h, v + t) - max(y, v))
    return shared / (w * h + s * t - shared)
