"""labelme: a JSON file per image with the shapes that were drawn on it.

Format: the labelme project (`LabelFile`), and X-AnyLabeling's additions. Shapes of one label and
one `group_id` are one object, a rectangle among them that object's box. A `mask` is a PNG, base64,
placed by its box.

Which image: `imagePath`, relative to the file, with backslashes or absolute at times; else the
image of the file's own name.
"""

import base64
import binascii
import math
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from sa_engine.errors import AnnotationError
from sa_engine.formats.base import Box, ImportedImage, ListedImage
from sa_engine.formats.codecs import geometry, jsonfile, png
from sa_engine.formats.fields import engine_fields, keepable, number, text, whole_size
from sa_engine.formats.readers.folders import (
    AnnotationFile,
    FilePerImage,
    files_below,
    json_object,
    stem,
)
from sa_engine.formats.readers.gather import BoxPiece, Gatherer, Piece
from sa_engine.formats.reasons import Loss, Note

_IMAGE_PATH = re.compile(rb'"imagePath"\s*:\s*("(?:[^"\\]|\\.)*")')
_OWN_KEYS = frozenset({"label", "points", "shape_type", "mask", "iscrowd"})
_POLYGONS = frozenset({"polygon", "rotation", "oriented_rectangle", "quadrilateral"})
_JOINED = _POLYGONS | {"circle", "mask", "rectangle"}
_WITHOUT_AREA = frozenset({"point", "points", "line", "linestrip", "cuboid"})
_IMAGE_KEYS = frozenset({"shapes", "imagePath", "imageData", "imageHeight", "imageWidth"})


class LabelmeSource(FilePerImage[dict[str, Any]]):
    """A folder of labelme files, or one of them. See `AnnotationSource`."""

    def __init__(self, path: Path) -> None:
        found = files_below(path, (".json",))
        self._root = path if path.is_dir() else path.parent
        listed: list[ListedImage] = []
        files: list[AnnotationFile] = []
        notes: list[Note] = []
        for file in found:
            image = _listed(file)
            if image is None:
                notes.append(Note(Loss.BAD_FILE, file.name, of_images=True))
            else:
                files.append(file)
                listed.append(image)
        if not files:
            raise AnnotationError(f"no labelme files in {path}")
        super().__init__(files)
        self.images = listed
        self.notes = notes

    @property
    def image_folder(self) -> str | None:
        """The pictures lie beside their files."""
        return str(self._root)

    def size_hw(self, index: int) -> tuple[int, int] | None:
        """See `AnnotationSource.size_hw`."""
        content = self.content(index) or {}
        return whole_size(content.get("imageHeight"), content.get("imageWidth"))

    def count(self, index: int) -> int:
        """Shapes, grouped or not."""
        content = self.content(index)
        return 1 if content is None else len(content["shapes"])

    def read(self, index: int, size_hw: tuple[int, int]) -> ImportedImage:
        """See `AnnotationSource.read`."""
        content = self.content(index)
        if content is None:
            return self.unreadable(index)
        gatherer = Gatherer(size_hw)
        for positions in _groups(content["shapes"]):
            shapes = [content["shapes"][position] for position in positions]
            name = "shape " + "+".join(map(str, positions))
            if not isinstance(shapes[0], dict):
                gatherer.lose(Loss.BAD_RECORD, name)
                continue
            gatherer.add(_fields(shapes[0], name), *(_piece(shape, size_hw) for shape in shapes))
        extra = {key: value for key, value in content.items() if key not in _IMAGE_KEYS}
        return gatherer.finish(keepable({"file_name": content.get("imagePath"), **extra}))

    def parse(self, data: bytes) -> dict[str, Any]:
        """An object with a list of shapes."""
        content = json_object(data)
        if not isinstance(content.get("shapes"), list):
            raise AnnotationError('it has no list of "shapes"')
        return content


def _listed(file: AnnotationFile) -> ListedImage | None:
    """The image of a file, without parsing it: `imageData` may hold the whole picture."""
    try:
        data = file.read()
    except AnnotationError:
        return None
    if b'"shapes"' not in data:
        return None
    found = _IMAGE_PATH.search(data)
    name = None
    if found:
        try:
            name = text(jsonfile.parse(found[1])[0])
        except ValueError:
            name = None
    if not name:
        return ListedImage(file.name, any_ending=(stem(file.name),))
    # The path is relative to the file's own folder.
    beside = str(PurePosixPath(file.name).parent / name) if "/" in file.name else name
    names = [beside, name] if beside != name and not _leaves(name) else [name]
    return ListedImage(names[0], tuple(names[1:]), any_ending=(stem(file.name),))


def _leaves(name: str) -> bool:
    return name.startswith(("/", "\\")) or ".." in name or name[1:2] == ":"


def _groups(shapes: Sequence[Any]) -> list[list[int]]:
    """Positions of the shapes of each object, in the order of their first shapes."""
    groups: dict[Any, list[int]] = {}
    for position, shape in enumerate(shapes):
        key: Any = position
        if isinstance(shape, dict):
            group = shape.get("group_id")
            if isinstance(group, int | str) and _kind(shape) in _JOINED:
                key = (str(shape.get("label")), group)
        groups.setdefault(key, []).append(position)
    found: list[list[int]] = []
    for positions in groups.values():
        # Boxes alone are several objects that lie together.
        together = any(_kind(shapes[position]) != "rectangle" for position in positions)
        found += [positions] if together else [[position] for position in positions]
    return found


def _kind(shape: Any) -> str:
    """A shape's type: old files, which have none, hold polygons."""
    kind = shape.get("shape_type") if isinstance(shape, dict) else None
    return kind if isinstance(kind, str) and kind else "polygon"


def _fields(shape: dict[str, Any], name: str) -> dict[str, Any]:
    engine, extra = engine_fields(shape, _OWN_KEYS)
    return {
        **engine,
        "name": name,
        "category": text(shape.get("label")),
        "iscrowd": shape.get("iscrowd") in (1, True),
        # labelme writes every field of every shape; those that say nothing are left out.
        "attributes": {k: v for k, v in extra.items() if v not in (None, "", {})},
    }


def _piece(shape: Any, size_hw: tuple[int, int]) -> Piece:
    if not isinstance(shape, dict):
        return Loss.BAD_RECORD
    points = shape.get("points")
    kind = _kind(shape)
    if kind in _POLYGONS:
        return geometry.ring_of_points(points, size_hw)
    match kind:
        case "circle":
            return _circle(points, size_hw)
        case "mask":
            return _mask(shape, size_hw)
        case "rectangle":
            return BoxPiece(_rectangle(shape))
        case _:
            return Loss.UNSUPPORTED_SHAPE if kind in _WITHOUT_AREA else Loss.UNKNOWN_SHAPE


def _circle(points: Any, size_hw: tuple[int, int]) -> Piece:
    corners = _two_points(points)
    if corners is None:
        return Loss.BAD_SHAPE
    (x, y), (x_rim, y_rim) = corners
    radius = math.hypot(x_rim - x, y_rim - y)
    return geometry.ellipse((x, y), (radius, radius), degrees=0, size_hw=size_hw)


def _mask(shape: dict[str, Any], size_hw: tuple[int, int]) -> Piece:
    corners = _two_points(shape.get("points"))
    coded = shape.get("mask")
    if corners is None or not isinstance(coded, str):
        return Loss.BAD_SHAPE
    (x, y), (x_last, y_last) = corners
    try:
        patch = png.read(base64.b64decode(coded), max_pixels=4 * size_hw[0] * size_hw[1])
    except (AnnotationError, binascii.Error, ValueError):
        return Loss.BAD_SHAPE
    # The box names its last pixel; one pixel of slack for tools that name the one after.
    sides = (int(y_last) - int(y) + 1, int(x_last) - int(x) + 1)
    if max(abs(patch.shape[0] - sides[0]), abs(patch.shape[1] - sides[1])) > 1:
        return Loss.BAD_SHAPE
    return geometry.place(patch != 0, (int(x), int(y)), size_hw)


def _rectangle(shape: dict[str, Any]) -> Box | None:
    corners = _two_points(shape.get("points"))
    if corners is None:
        return None
    (x1, y1), (x2, y2) = corners
    return geometry.box((min(x1, x2), min(y1, y2), abs(x2 - x1), abs(y2 - y1)))


def _two_points(points: Any) -> tuple[tuple[float, float], tuple[float, float]] | None:
    if not isinstance(points, list) or len(points) < 2:
        return None
    # A rectangle may come with its four corners; the third is opposite the first.
    pair = (points[0], points[2] if len(points) == 4 else points[1])
    numbers = []
    for point in pair:
        if not isinstance(point, list) or len(point) != 2:
            return None
        numbers += [number(point[0]), number(point[1])]
    if any(value is None or abs(value) > geometry.FARTHEST for value in numbers):
        return None
    x1, y1, x2, y2 = (value or 0.0 for value in numbers)
    return (x1, y1), (x2, y2)
