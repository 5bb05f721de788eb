"""A first pass over a COCO file: image names, and where every record lies."""

from array import array
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sa_engine.formats.base import ListedImage, listed_image
from sa_engine.formats.codecs.jsonfile import Element
from sa_engine.formats.fields import keepable, text, whole_size
from sa_engine.formats.readers.panoptic import segments_of
from sa_engine.formats.reasons import Loss, Note, Repair

_FILE_KINDS = frozenset({"instances", "person", "panoptic", "captions", "image", "stuff"})
"""How the names of COCO's files begin."""


class CocoIndex:
    """What a first pass over the file keeps: image names, and where every record lies."""

    def __init__(self, subset: str | None) -> None:
        self.has_images = False
        self.about: dict[str, Any] = {}
        self._subset = subset
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
        self._num_regions = array("q")
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
        elif element.key == "licenses" and element.in_array:
            self.about.setdefault("licenses", []).append(keepable(element.value))
        elif element.key == "info" and not element.in_array and element.value:
            self.about["info"] = keepable(element.value)

    def category_names(self) -> dict[Hashable, str]:
        """Names by id; of a repeated id, the first."""
        names: dict[Hashable, str] = {}
        for category in self.categories:
            category_id, name = category.get("id"), text(category.get("name"))
            if is_id(category_id) and name is not None:
                names.setdefault(category_id, name)
        return names

    def repeated_ids(self) -> frozenset[int]:
        """Annotation ids that occur more than once."""
        values, counts = np.unique(np.array(self._id, dtype=np.int64), return_counts=True)
        return frozenset(values[(counts > 1) & (values >= 0)].tolist())

    def annotations_by_image(self) -> tuple[Any, Any, Any, Any]:
        """Each image's annotations: first of each image, offsets, sizes, numbers of regions."""
        image = self._image_of_annotation()
        order = np.argsort(image, kind="stable")
        order = order[np.searchsorted(image[order], 0) :]
        first = np.searchsorted(image[order], np.arange(len(self.images) + 1))
        offset = np.array(self._offset, dtype=np.int64)[order]
        size = np.array(self._size, dtype=np.int64)[order]
        return first, offset, size, np.array(self._num_regions, dtype=np.int64)[order]

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
        lost = self._image_of_annotation() < 0
        slots = np.array(self._slot, dtype=np.int64)[lost]
        regions = np.array(self._num_regions, dtype=np.int64)[lost]
        ids = {slot: image_id for image_id, slot in self._slots.items()}
        orphans = []
        counts = np.bincount(slots, weights=regions) if len(slots) else np.zeros(0)
        for slot in np.flatnonzero(counts).tolist():
            count = counts[slot]
            reason = Loss.NO_IMAGE
            if slot in self._ambiguous:
                reason = Loss.AMBIGUOUS_IMAGE_ID
            elif slot in self._nameless:
                reason = Loss.NO_FILE_NAME
            orphans.append(Note(reason, f"annotations of image id {ids[slot]}", int(count)))
        return [*self._notes, *orphans]

    def _add_image(self, element: Element) -> None:
        record = element.value
        if not isinstance(record, dict) or not is_id(record.get("id")):
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
        self.images.append(listed_image(name, *others, subset=self._subset))
        self.image_spans.extend((element.span.offset, element.span.size))
        self.image_sides.extend(whole_size(record.get("height"), record.get("width")) or (0, 0))
        if not element.was_utf8:
            self._notes.append(Note(Repair.ENCODING, name, of_images=True))

    def _add_annotation(self, element: Element) -> None:
        record = element.value
        if not isinstance(record, dict) or not is_id(record.get("image_id")):
            self._notes.append(Note(Loss.BAD_RECORD, f"annotation at byte {element.span.offset}"))
            return
        annotation_id = record.get("id")
        self._slot.append(self._slot_of(record.get("image_id")))
        segments = segments_of(record)
        self._num_regions.append(not is_caption(record) if segments is None else len(segments))
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


def is_id(value: object) -> bool:
    """Whether a JSON value can be looked up."""
    return value is None or isinstance(value, int | str | float)


def is_caption(record: Mapping[str, Any]) -> bool:
    """Whether an annotation is a caption, which is of no region."""
    return "caption" in record and not record.get("segmentation") and not record.get("bbox")


def subset_of(path: Path) -> str | None:
    """The subset that a file below `annotations` is of, by its name."""
    kind, _, subset = path.stem.partition("_")
    if path.absolute().parent.name != "annotations" or kind not in _FILE_KINDS:
        return None
    return subset.removeprefix("keypoints_").removeprefix("info_") or None


def _file_names(record: Mapping[str, Any]) -> tuple[str | None, tuple[str, ...]]:
    """The image's file name, and others that it may have."""
    name = text(record.get("file_name"))
    url = text(record.get("coco_url")) or text(record.get("path"))
    # The last two parts of http://images.cocodataset.org/val2017/000000397133.jpg.
    from_url = "/".join(url.split("?")[0].split("/")[-2:]) if url else None
    extra = record.get("extra")
    uploaded = text(extra.get("name")) if isinstance(extra, dict) else None
    names = [each for each in (name, from_url, uploaded) if each]
    return (names[0], tuple(names[1:])) if names else (None, ())
