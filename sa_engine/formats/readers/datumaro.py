"""Datumaro: a JSON file per subset, with categories and the items' annotations.

Format: the Datumaro documentation, "Datumaro format". A label is an index into the list of labels;
annotations of one label and one `group` above 0 are one object; a mask's `rle` is COCO's.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sa_engine.errors import AnnotationError
from sa_engine.formats.base import ImportedImage, ListedImage
from sa_engine.formats.codecs import geometry
from sa_engine.formats.codecs.jsonfile import ByteSpan, JsonFile
from sa_engine.formats.fields import keepable, number, text, whole_size
from sa_engine.formats.readers.folders import files_below
from sa_engine.formats.readers.gather import Gatherer, Piece
from sa_engine.formats.reasons import Loss, Note

_OWN_KEYS = frozenset({"id", "type", "label_id", "points", "rle", "bbox", "group"})
_AREAS = frozenset({"polygon", "mask", "ellipse", "bbox"})


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
        for members in _groups(item.get("annotations")):
            first = members[0]
            name = f"annotation {first.get('id')} ({first.get('type')})"
            fields = self._fields(first, name, which)
            if _kind(first) not in _AREAS:
                gatherer.lose(Loss.UNSUPPORTED_SHAPE, name)
            elif len(members) == 1 and first.get("type") == "bbox":
                box = first.get("bbox")
                gatherer.add_box(fields, geometry.box(box) if isinstance(box, list) else None)
            else:
                gatherer.add(fields, *(_piece(member, size_hw) for member in members))
        known = {"file_name": self.images[index].file_name, "subset": self._subsets[which]}
        return gatherer.finish(keepable({**known, "attributes": item.get("attr") or {}}))

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
            return
        given = item.get("annotations")
        annotations = given if isinstance(given, list) else []
        size = _image(item).get("size")
        self.images.append(listed)
        self._places.append((which, span))
        self._counts.append(sum(isinstance(a, dict) and _kind(a) in _AREAS for a in annotations))
        self._sizes.append(
            whole_size(size[0], size[1]) if isinstance(size, list) and len(size) == 2 else None
        )

    def _fields(self, annotation: Mapping[str, Any], name: str, which: int) -> dict[str, Any]:
        label = annotation.get("label_id")
        names = self._labels[which]
        known = isinstance(label, int) and 0 <= label < len(names)
        extra = {k: keepable(v) for k, v in annotation.items() if k not in _OWN_KEYS and v != {}}
        attributes = annotation.get("attributes")
        crowd = isinstance(attributes, dict) and attributes.get("is_crowd") in (1, True)
        group = {"group": annotation["group"]} if annotation.get("group") else {}
        return {
            "name": name,
            "category": names[label] if known and isinstance(label, int) else None,
            "iscrowd": crowd,
            "attributes": {"source_id": keepable(annotation.get("id")), **keepable(group), **extra},
        }


def _listed(item: Any, subset: str) -> ListedImage | None:
    if not isinstance(item, dict):
        return None
    path, item_id = text(_image(item).get("path")), text(item.get("id"))
    if path is None and item_id is None:
        return None
    stems = (f"{subset}/{item_id}",) if item_id else ()
    return ListedImage(path or item_id or "", (f"{subset}/{path}",) if path else (), stems)


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


def _groups(annotations: Any) -> Sequence[list[Mapping[str, Any]]]:
    """The annotations of each object, in the order of their first."""
    groups: dict[Any, list[Mapping[str, Any]]] = {}
    for position, annotation in enumerate(annotations if isinstance(annotations, list) else ()):
        if not isinstance(annotation, dict) or annotation.get("type") in ("label", "caption"):
            continue
        group = annotation.get("group")
        joins = (
            isinstance(group, int) and group > 0 and annotation.get("type") in ("polygon", "mask")
        )
        key = (str(annotation.get("label_id")), group) if joins else position
        groups.setdefault(key, []).append(annotation)
    return list(groups.values())


def _piece(annotation: Mapping[str, Any], size_hw: tuple[int, int]) -> Piece:
    match annotation.get("type"):
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
        case _:
            return Loss.UNSUPPORTED_SHAPE


def _numbers(values: Any, count: int) -> list[float] | None:
    if not isinstance(values, list) or len(values) != count:
        return None
    found = [number(value) for value in values]
    return None if None in found else [value for value in found if value is not None]
