"""Datumaro: a JSON file per subset, with categories and the items' annotations.

Format: the Datumaro documentation, "Datumaro format". A label is an index into the list of labels;
annotations of one label and one `group` above 0 are one object, a box among them that object's; a
mask's `rle` is COCO's; CVAT turns a box by the attribute `rotation`, clockwise in degrees about its
centre. Annotations of the types "label" and "caption" are of the whole image.

Which image: the file's name is the subset, and `image.path` (or `media.path`, or the item's `id`
without a suffix) the image in that subset's folder.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sa_engine.errors import AnnotationError
from sa_engine.formats.base import ImportedImage, ListedImage, listed_image
from sa_engine.formats.codecs import geometry
from sa_engine.formats.codecs.jsonfile import ByteSpan, JsonFile
from sa_engine.formats.fields import keepable, number, text, whole_size
from sa_engine.formats.readers.folders import files_below
from sa_engine.formats.readers.gather import BoxPiece, Gatherer, Piece, stated_of
from sa_engine.formats.reasons import Beside, Loss, Note

_OWN_KEYS = frozenset({"id", "type", "label_id", "points", "rle", "bbox", "group"})
_JOINED = frozenset({"polygon", "mask", "ellipse", "bbox"})
_WITHOUT_AREA = frozenset({"points", "polyline", "cuboid_2d", "cuboid_3d", "skeleton"})
_OF_IMAGES = frozenset({"label", "caption"})


class DatumaroSource:
    """A Datumaro file, or a folder with `annotations/<subset>.json`. See `AnnotationSource`."""

    unlisted_are_empty = False

    def __init__(self, path: Path) -> None:
        annotations = path / "annotations" if (path / "annotations").is_dir() else path
        self._root = path if path.is_dir() else path.parent
        self._files: list[JsonFile] = []
        self._places: list[tuple[int, ByteSpan]] = []
        self._counts: list[int] = []
        self._sizes: list[tuple[int, int] | None] = []
        self._labels: list[list[str | None]] = []
        self._subsets: list[str] = []
        self.images: list[ListedImage] = []
        self.notes: list[Note] = []
        self.categories: list[Mapping[str, Any]] = []
        self.about: Mapping[str, Any] = {}
        for file in files_below(annotations, (".json",)):
            self._index(Path(file.path))

    @property
    def image_folder(self) -> str | None:
        """`images` of the data set's folder."""
        for folder in (self._root, self._root.parent):
            if (folder / "images").is_dir():
                return str(folder / "images")
        return str(self._root)

    def size_hw(self, index: int) -> tuple[int, int] | None:
        """See `AnnotationSource.size_hw`."""
        return self._sizes[index]

    def count(self, index: int) -> int:
        """See `AnnotationSource.count`."""
        return self._counts[index]

    def read(self, index: int, size_hw: tuple[int, int]) -> ImportedImage:
        """See `AnnotationSource.read`."""
        which, span = self._places[index]
        item, _ = self._files[which].value(span)
        gatherer = Gatherer(size_hw)
        attributes: dict[str, Any] = {
            "file_name": self.images[index].file_name,
            "subset": self._subsets[which],
        }
        attributes |= {"attributes": item.get("attr") or {}}
        annotations = _annotations(item)
        for members in _groups(annotations):
            first = members[0]
            if not isinstance(first, dict):
                gatherer.lose(Loss.BAD_RECORD, "an annotation")
                continue
            name = f"annotation {first.get('id')} ({first.get('type')})"
            fields = self._fields(first, name, which)
            pieces = [_piece(m, size_hw, len(members) > 1) for m in members]
            gatherer.add(fields, *pieces, stated=stated_of(first) if len(members) == 1 else None)
        of_image = [a for a in annotations if isinstance(a, dict) and _kind(a) in _OF_IMAGES]
        tags = [self._label(a, which) for a in of_image if _kind(a) == "label"]
        captions = [a.get("caption") for a in of_image if _kind(a) == "caption"]
        gatherer.note(Beside.TAGS, "labels", len(tags))
        gatherer.note(Beside.CAPTIONS, "captions", len(captions))
        attributes |= {"tags": tags} if tags else {}
        attributes |= {"captions": captions} if captions else {}
        return gatherer.finish(keepable(attributes))

    def _index(self, path: Path) -> None:
        file = JsonFile(path)
        which = len(self._files)
        self._files.append(file)
        self._subsets.append(path.stem)
        self._labels.append([])
        has_items = False
        for element in file.elements():
            if element.key == "categories" and isinstance(element.value, dict):
                self._labels[which] = _label_names(element.value)
            elif element.key == "items":
                has_items = True
                if element.in_array:
                    self._add_item(which, element.span, element.value)
        if not has_items:
            raise AnnotationError(f'{path} has no list of "items": it is not a Datumaro file')
        known = {category["name"] for category in self.categories}
        self.categories += [{"name": n} for n in self._labels[which] if n and n not in known]

    def _add_item(self, which: int, span: ByteSpan, item: Any) -> None:
        listed = _listed(item, self._subsets[which])
        if listed is None:
            what = f"item at byte {span.offset}"
            self.notes.append(Note(Loss.NO_FILE_NAME, what, of_images=True))
            lost = sum(map(_is_region, _annotations(item))) if isinstance(item, dict) else 0
            if lost:
                self.notes.append(Note(Loss.NO_FILE_NAME, f"annotations of {what}", lost))
            return
        size = _image(item).get("size")
        self.images.append(listed)
        self._places.append((which, span))
        self._counts.append(sum(_is_region(each) for each in _annotations(item)))
        self._sizes.append(
            whole_size(size[0], size[1]) if isinstance(size, list) and len(size) == 2 else None
        )

    def _fields(self, annotation: Mapping[str, Any], name: str, which: int) -> dict[str, Any]:
        extra = {k: keepable(v) for k, v in annotation.items() if k not in _OWN_KEYS and v != {}}
        attributes = annotation.get("attributes")
        crowd = isinstance(attributes, dict) and attributes.get("is_crowd") in (1, True)
        group = {"group": annotation["group"]} if annotation.get("group") else {}
        return {
            "name": name,
            "category": self._label(annotation, which),
            "iscrowd": crowd,
            "attributes": {"source_id": keepable(annotation.get("id")), **keepable(group), **extra},
        }

    def _label(self, annotation: Mapping[str, Any], which: int) -> str | None:
        label, names = annotation.get("label_id"), self._labels[which]
        return names[label] if isinstance(label, int) and 0 <= label < len(names) else None


def _listed(item: Any, subset: str) -> ListedImage | None:
    if not isinstance(item, dict):
        return None
    path, item_id = text(_image(item).get("path")), text(item.get("id"))
    if path is None and item_id is None:
        return None
    stems = (item_id,) if item_id else ()
    return replace(listed_image(path or item_id or "", subset=subset), any_ending=stems)


def _annotations(item: Mapping[str, Any]) -> Sequence[Any]:
    given = item.get("annotations")
    return given if isinstance(given, list) else []


def _is_region(annotation: Any) -> bool:
    return not isinstance(annotation, dict) or _kind(annotation) not in _OF_IMAGES


def _kind(annotation: Mapping[str, Any]) -> str:
    """An annotation's type; "" if it is no text."""
    kind = annotation.get("type")
    return kind if isinstance(kind, str) else ""


def _image(item: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the item says of its picture: `image`, or `media` since version 0.3."""
    for key in ("image", "media"):
        if isinstance(item.get(key), dict):
            image: Mapping[str, Any] = item[key]
            return image
    return {}


def _label_names(categories: Mapping[str, Any]) -> list[str | None]:
    label = categories.get("label")
    labels = label.get("labels") if isinstance(label, dict) else None
    if not isinstance(labels, list):
        return []
    return [text(each.get("name")) if isinstance(each, dict) else None for each in labels]


def _groups(annotations: Sequence[Any]) -> Sequence[list[Any]]:
    """The annotations of each object, in the order of their first."""
    groups: dict[Any, list[Any]] = {}
    for position, annotation in enumerate(annotations):
        if not _is_region(annotation):
            continue
        key: Any = position
        if isinstance(annotation, dict):
            group = annotation.get("group")
            if isinstance(group, int) and group > 0 and _kind(annotation) in _JOINED:
                key = (str(annotation.get("label_id")), group)
        groups.setdefault(key, []).append(annotation)
    found: list[list[Any]] = []
    for members in groups.values():
        # Boxes alone are several objects that lie together.
        together = any(not isinstance(m, dict) or _kind(m) != "bbox" for m in members)
        found += [members] if together else [[member] for member in members]
    return found


def _piece(annotation: Mapping[str, Any], size_hw: tuple[int, int], is_of_group: bool) -> Piece:
    match _kind(annotation):
        case "bbox":
            return _box(annotation, size_hw, is_of_group)
        case "polygon":
            points = annotation.get("points")
            return (
                geometry.polygon([points], size_hw)
                if isinstance(points, list)
                else Loss.BAD_POLYGON
            )
        case "mask":
            rle = annotation.get("rle")
            return geometry.foreign_rle(rle, size_hw) if isinstance(rle, dict) else Loss.BAD_RLE
        case "ellipse":
            # The box around it: left, top, right, bottom.
            sides = _numbers(annotation.get("points"), 4)
            if sides is None:
                return Loss.BAD_SHAPE
            left, top, right, bottom = sides
            center, radii = (
                ((left + right) / 2, (top + bottom) / 2),
                ((right - left) / 2, (bottom - top) / 2),
            )
            return geometry.ellipse(center, radii, degrees=0, size_hw=size_hw)
        case kind:
            return Loss.UNSUPPORTED_SHAPE if kind in _WITHOUT_AREA else Loss.UNKNOWN_SHAPE


def _box(annotation: Mapping[str, Any], size_hw: tuple[int, int], is_of_group: bool) -> Piece:
    given, attributes = annotation.get("bbox"), annotation.get("attributes")
    box = geometry.box(given) if isinstance(given, list) else None
    degrees = number(attributes.get("rotation")) if isinstance(attributes, dict) else None
    if box is None or is_of_group or not (degrees or 0) % 360:
        return BoxPiece(box)
    x, y, width, height = box
    center = (x + width / 2, y + height / 2)
    return geometry.rotated_box(center, (width, height), degrees=degrees or 0, size_hw=size_hw)


def _numbers(values: Any, count: int) -> list[float] | None:
    if not isinstance(values, list) or len(values) != count:
        return None
    found = [number(value) for value in values]
    return None if None in found else [value for value in found if value is not None]
