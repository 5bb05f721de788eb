"""COCO instances, and LVIS, which is COCO with a few fields more and a few fewer.

Format: https://cocodataset.org/#format-data and https://www.lvisdataset.org/dataset. Known traps:
ids may start at 0; a crowd is not an RLE and an RLE is not a crowd; `counts` is compressed text or
a list; `size` is [height, width]; the polygons of one annotation are one object; LVIS has no
`iscrowd` and may have `coco_url` in place of `file_name`.
"""

from array import array
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sa_engine.errors import AnnotationError
from sa_engine.formats.base import ImportedImage, ListedImage
from sa_engine.formats.codecs import geometry
from sa_engine.formats.codecs.jsonfile import ByteSpan, Element, JsonFile, parse
from sa_engine.formats.fields import engine_fields, keepable, text, whole_size
from sa_engine.formats.readers.gather import Gatherer
from sa_engine.formats.reasons import Loss, Note, Repair

_IMAGE_KEYS = frozenset({"id", "file_name", "width", "height"})
_OWN_KEYS = frozenset(
    {"id", "image_id", "category_id", "segmentation", "area", "bbox", "iscrowd", "category"}
)


class CocoSource:
    """A COCO (or LVIS) instances file. See `AnnotationSource`."""

    unlisted_are_empty = False

    def __init__(self, path: Path) -> None:
        self._file = JsonFile(path)
        index = _Index()
        for element in self._file.elements():
            index.add(element)
        if not index.has_images:
            raise AnnotationError(f'{path} has no list of "images": it is not a COCO file')
        index.drop_ambiguous_images()
        self.images: Sequence[ListedImage] = index.images
        self.categories: Sequence[Mapping[str, Any]] = index.categories
        self._category_names = index.category_names()
        self._image_spans, self._sides = index.image_spans, index.image_sides
        self._repeated_ids = index.repeated_ids()
        self._first, self._offsets, self._sizes = index.annotations_by_image()
        self.notes: Sequence[Note] = index.all_notes()

    @property
    def image_folder(self) -> str | None:
        """`images` beside the file, or the file's own folder."""
        beside = self._file.path.parent / "images"
        return str(beside if beside.is_dir() else self._file.path.parent)

    def size_hw(self, index: int) -> tuple[int, int] | None:
        """See `AnnotationSource.size_hw`."""
        height, width = self._sides[2 * index : 2 * index + 2]
        return (height, width) if height else None

    def count(self, index: int) -> int:
        """See `AnnotationSource.count`."""
        return int(self._first[index + 1] - self._first[index])

    def read(self, index: int, size_hw: tuple[int, int]) -> ImportedImage:
        """See `AnnotationSource.read`."""
        records = self._records(index)
        reader = _Annotations(size_hw, self._category_names, self._repeated_ids)
        for record, was_utf8 in records:
            reader.add(record, was_utf8)
        return reader.finish(self._image_attributes(index))

    def _records(self, index: int) -> list[tuple[Any, bool]]:
        first, last = int(self._first[index]), int(self._first[index + 1])
        offsets, sizes = self._offsets[first:last].tolist(), self._sizes[first:last].tolist()
        if not offsets:
            return []
        start, stop = offsets[0], offsets[-1] + sizes[-1]
        if stop - start < 2 * sum(sizes) + 4096:
            # They lie together: one read.
            data = self._file.bytes(ByteSpan(start, stop - start))
            return [
                parse(data[offset - start : offset - start + size])
                for offset, size in zip(offsets, sizes, strict=True)
            ]
        return [self._file.value(ByteSpan(*span)) for span in zip(offsets, sizes, strict=True)]

    def _image_attributes(self, index: int) -> dict[str, Any]:
        offset, size = self._image_spans[2 * index : 2 * index + 2]
        record, _ = self._file.value(ByteSpan(offset, size))
        extra = {key: value for key, value in record.items() if key not in _IMAGE_KEYS}
        name = self.images[index].file_name
        kept = keepable({"source_id": record.get("id"), "file_name": name, **extra})
        return dict(kept)


class _Annotations:
    """The annotations of one image."""

    def __init__(
        self, size_hw: tuple[int, int], names: Mapping[Hashable, str], repeated: frozenset[int]
    ) -> None:
        self._names = names
        self._repeated = repeated
        self._gatherer = Gatherer(size_hw)
        self.finish = self._gatherer.finish

    def add(self, record: Mapping[str, Any], was_utf8: bool) -> None:
        """Take one annotation's record."""
        name = f"annotation {record.get('id')}"
        fields = self._fields(record, name, was_utf8)
        segmentation = record.get("segmentation")
        if not segmentation or segmentation == [[]]:
            given = record.get("bbox")
            box = geometry.box(given) if isinstance(given, list) else None
            if box is None:
                self._gatherer.lose(Loss.EMPTY, name)
            else:
                self._gatherer.add_box(fields, box)
        elif isinstance(segmentation, dict):
            self._gatherer.add(fields, geometry.foreign_rle(segmentation, self._gatherer.size_hw))
        else:
            self._gatherer.add(fields, geometry.polygon(segmentation, self._gatherer.size_hw))

    def _fields(self, record: Mapping[str, Any], name: str, was_utf8: bool) -> dict[str, Any]:
        repairs: list[Repair] = []
        if not was_utf8:
            repairs.append(Repair.ENCODING)
        annotation_id = record.get("id")
        if isinstance(annotation_id, int) and annotation_id in self._repeated:
            repairs.append(Repair.REPEATED_ID)
        engine, extra = engine_fields(record, _OWN_KEYS)
        category_id = record.get("category_id")
        category = self._names.get(category_id) if _is_id(category_id) else None
        if category is None and category_id is not None:
            repairs.append(Repair.UNKNOWN_CATEGORY)
        if category is None:
            category = text(record.get("category"))
        return {
            "name": name,
            "repairs": tuple(repairs),
            "category": category,
            "iscrowd": record.get("iscrowd") in (1, True, "1"),
            "attributes": {**_ids(annotation_id, category_id), **extra},
            **engine,
        }


class _Index:
    """What a first pass over the file keeps: image names, and where every record lies."""

    def __init__(self) -> None:
        self.has_images = False
        self.images: list[ListedImage] = []
        self.image_spans = array("q")
        self.image_sides = array("q")
        self.categories: list[Mapping[str, Any]] = []
        self._image_of_slot: dict[int, int] = {}
        self._slots: dict[Hashable, int] = {}
        self._ambiguous: set[int] = set()
        self._nameless: set[int] = set()
        self._slot = array("q")
        self._offset = array("q")
        self._size = array("q")
        self._id = array("q")
        self._notes: list[Note] = []

    def add(self, element: Element) -> None:
        """Take note of one element of the file."""
        if element.key == "images":
            self.has_images = True
            if element.in_array:
                self._add_image(element)
        elif element.key == "annotations" and element.in_array:
            self._add_annotation(element)
        elif element.key == "categories" and element.in_array and isinstance(element.value, dict):
            self.categories.append(element.value)

    def category_names(self) -> dict[Hashable, str]:
        """Names by id; of a repeated id, the first."""
        names: dict[Hashable, str] = {}
        for category in self.categories:
            category_id, name = category.get("id"), text(category.get("name"))
            if _is_id(category_id) and name is not None:
                names.setdefault(category_id, name)
        return names

    def repeated_ids(self) -> frozenset[int]:
        """Annotation ids that occur more than once."""
        values, counts = np.unique(np.array(self._id, dtype=np.int64), return_counts=True)
        return frozenset(values[(counts > 1) & (values >= 0)].tolist())

    def annotations_by_image(self) -> tuple[Any, Any, Any]:
        """Where each image's annotations lie: first of each image, offsets, sizes."""
        image = self._image_of_annotation()
        order = np.argsort(image, kind="stable")
        order = order[np.searchsorted(image[order], 0) :]
        first = np.searchsorted(image[order], np.arange(len(self.images) + 1))
        offset = np.array(self._offset, dtype=np.int64)[order]
        size = np.array(self._size, dtype=np.int64)[order]
        return first, offset, size

    def drop_ambiguous_images(self) -> None:
        """Leave out every image whose id stands for several."""
        if not self._ambiguous:
            return
        spans, sides, listed = self.image_spans, self.image_sides, self.images
        self.images, self.image_spans, self.image_sides = [], array("q"), array("q")
        for slot, image in list(self._image_of_slot.items()):
            if slot in self._ambiguous:
                del self._image_of_slot[slot]
                name = listed[image].file_name
                self._notes.append(Note(Loss.AMBIGUOUS_IMAGE_ID, name, of_images=True))
            else:
                self._image_of_slot[slot] = len(self.images)
                self.images.append(listed[image])
                self.image_spans.extend(spans[2 * image : 2 * image + 2])
                self.image_sides.extend(sides[2 * image : 2 * image + 2])

    def all_notes(self) -> list[Note]:
        """Notes on whatever belongs to no image that is left."""
        slots = np.array(self._slot, dtype=np.int64)[self._image_of_annotation() < 0]
        ids = {slot: image_id for image_id, slot in self._slots.items()}
        orphans = []
        for slot, count in zip(*np.unique(slots, return_counts=True), strict=True):
            reason = Loss.NO_IMAGE
            if slot in self._ambiguous:
                reason = Loss.AMBIGUOUS_IMAGE_ID
            elif slot in self._nameless:
                reason = Loss.NO_FILE_NAME
            orphans.append(Note(reason, f"annotations of image id {ids[slot]}", int(count)))
        return [*self._notes, *orphans]

    def _add_image(self, element: Element) -> None:
        record = element.value
        if not isinstance(record, dict) or not _is_id(record.get("id")):
            what = f"image at byte {element.span.offset}"
            self._notes.append(Note(Loss.BAD_RECORD, what, of_images=True))
            return
        slot = self._slot_of(record.get("id"))
        name, others = _file_names(record)
        if name is None:
            self._nameless.add(slot)
            what = f"image id {record.get('id')}"
            self._notes.append(Note(Loss.NO_FILE_NAME, what, of_images=True))
            return
        known = self._image_of_slot.get(slot)
        if known is not None:
            if self.images[known].file_name != name:
                self._ambiguous.add(slot)
            else:
                self._notes.append(Note(Repair.REPEATED_IMAGE, name, of_images=True))
            return
        self._image_of_slot[slot] = len(self.images)
        self.images.append(ListedImage(name, others))
        self.image_spans.extend((element.span.offset, element.span.size))
        self.image_sides.extend(whole_size(record.get("height"), record.get("width")) or (0, 0))
        if not element.was_utf8:
            self._notes.append(Note(Repair.ENCODING, name, of_images=True))

    def _add_annotation(self, element: Element) -> None:
        record = element.value
        if not isinstance(record, dict) or not _is_id(record.get("image_id")):
            self._notes.append(Note(Loss.BAD_RECORD, f"annotation at byte {element.span.offset}"))
            return
        annotation_id = record.get("id")
        self._slot.append(self._slot_of(record.get("image_id")))
        self._offset.append(element.span.offset)
        self._size.append(element.span.size)
        self._id.append(
            annotation_id if isinstance(annotation_id, int) and 0 <= annotation_id < 1 << 62 else -1
        )

    def _slot_of(self, image_id: Hashable) -> int:
        return self._slots.setdefault(image_id, len(self._slots))

    def _image_of_annotation(self) -> Any:
        """Index of each annotation's image; -1 where it has none that can be used."""
        by_slot = np.full(len(self._slots) + 1, -1, dtype=np.int64)
        for slot, image in self._image_of_slot.items():
            by_slot[slot] = -1 if slot in self._ambiguous else image
        return by_slot[np.array(self._slot, dtype=np.int64)]


def _is_id(value: object) -> bool:
    """Whether a JSON value can be looked up."""
    return value is None or isinstance(value, int | str | float)


def _ids(annotation_id: Any, category_id: Any) -> dict[str, Any]:
    """The source's own numbers, where it has them."""
    if type(annotation_id) is int and type(category_id) is int:
        return {"source_id": annotation_id, "category_id": category_id}
    given = {"source_id": annotation_id, "category_id": category_id}
    return {key: keepable(value) for key, value in given.items() if value is not None}


def _file_names(record: Mapping[str, Any]) -> tuple[str | None, tuple[str, ...]]:
    """The image's file name, and others that it may have."""
    name = text(record.get("file_name"))
    url = text(record.get("coco_url")) or text(record.get("path"))
    # The last two parts of http://images.cocodataset.org/val2017/000000397133.jpg.
    from_url = "/".join(url.split("?")[0].split("/")[-2:]) if url else None
    names = [each for each in (name, from_url) if each]
    return (names[0], tuple(names[1:])) if names else (None, ())
