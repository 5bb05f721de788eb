"""COCO instances, and LVIS, which is COCO with a few fields more and a few fewer.

Format: https://cocodataset.org/#format-data and https://www.lvisdataset.org/dataset. Known traps:
ids may start at 0; a crowd is not an RLE and an RLE is not a crowd; `counts` is compressed text or
a list; `size` is [height, width]; the polygons of one annotation are one object; LVIS has no
`iscrowd` and may have `coco_url` in place of `file_name`; a panoptic annotation stands for all
segments of an image (see `panoptic`), a caption for no region; CVAT turns a box by the attribute
`rotation`, clockwise in degrees about its centre.

Which image: `image_id`; its file by `file_name`, `coco_url`, `path` or Roboflow's `extra.name`; its
subset by the file's own name below `annotations`, as in `instances_train2017.json`.
"""

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sa_engine.errors import AnnotationError
from sa_engine.formats.base import ImportedImage, ListedImage
from sa_engine.formats.codecs import geometry
from sa_engine.formats.codecs.jsonfile import ByteSpan, JsonFile, parse
from sa_engine.formats.fields import engine_fields, keepable, number, text
from sa_engine.formats.readers.coco_index import CocoIndex, is_caption, is_id, subset_of
from sa_engine.formats.readers.gather import BoxPiece, Gatherer, Piece, stated_of
from sa_engine.formats.readers.panoptic import PanopticMaps, segments_of
from sa_engine.formats.reasons import Beside, Loss, Note, Repair

_IMAGE_KEYS = frozenset({"id", "file_name", "width", "height"})
_OWN_KEYS = frozenset(
    {"id", "image_id", "category_id", "segmentation", "area", "bbox", "iscrowd", "category"}
)


class CocoSource:
    """A COCO (or LVIS) instances file. See `AnnotationSource`."""

    unlisted_are_empty = False

    def __init__(self, path: Path) -> None:
        self._file = JsonFile(path)
        self._panoptic = PanopticMaps(path)
        index = CocoIndex(subset_of(path))
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
        self._first, self._offsets, self._sizes, self._regions = index.annotations_by_image()
        self.about: Mapping[str, Any] = index.about
        self.notes: Sequence[Note] = index.all_notes()

    @property
    def image_folder(self) -> str | None:
        """`images` beside the file or beside its folder `annotations`, or the folder of both."""
        folder = self._file.path.absolute().parent
        for root in (folder, folder.parent) if folder.name == "annotations" else (folder,):
            if (root / "images").is_dir():
                return str(root / "images")
        return str(folder.parent if folder.name == "annotations" else folder)

    def size_hw(self, index: int) -> tuple[int, int] | None:
        """See `AnnotationSource.size_hw`."""
        height, width = self._sides[2 * index : 2 * index + 2]
        return (height, width) if height else None

    def count(self, index: int) -> int:
        """See `AnnotationSource.count`."""
        return int(self._regions[self._first[index] : self._first[index + 1]].sum())

    def read(self, index: int, size_hw: tuple[int, int]) -> ImportedImage:
        """See `AnnotationSource.read`."""
        return self._read(index, size_hw, (1.0, 1.0))

    def is_stretched(self, index: int) -> bool:
        """Whether the file's tool stretches what was drawn on a turned picture.

        Label Studio's COCO export multiplies shares of the upright picture by the sides of the
        stored one.
        """
        info = self.about.get("info")
        by_name = isinstance(info, dict) and info.get("contributor") == "Label Studio"
        return by_name and self.size_hw(index) is not None

    def read_stretched(self, index: int, size_hw: tuple[int, int]) -> ImportedImage:
        """The annotations of an image that was turned, for its upright (height, width)."""
        declared_hw = self.size_hw(index) or size_hw
        scale_xy = (size_hw[1] / declared_hw[1], size_hw[0] / declared_hw[0])
        return self._read(index, size_hw, scale_xy)

    def _read(
        self, index: int, size_hw: tuple[int, int], scale_xy: tuple[float, float]
    ) -> ImportedImage:
        reader = _Annotations(size_hw, self._category_names, self._repeated_ids)
        for record, was_utf8 in self._records(index):
            if scale_xy != (1.0, 1.0):
                record = _stretched(record, scale_xy)
            if segments_of(record) is not None:
                reader.add_segments(record, self._panoptic, was_utf8)
            else:
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


def _stretched(record: Any, scale_xy: tuple[float, float]) -> Any:
    """A record with its polygons and its box stretched; anything that is none stays."""
    if not isinstance(record, dict):
        return record
    rings = record.get("segmentation")
    found = dict(record)
    if isinstance(rings, list) and all(isinstance(ring, list) for ring in rings):
        found["segmentation"] = [_times(ring, scale_xy) for ring in rings]
    if isinstance(record.get("bbox"), list):
        found["bbox"] = _times(record["bbox"], scale_xy)
    return found


def _times(values: list[Any], scale_xy: tuple[float, float]) -> list[Any]:
    return [
        value if number(value) is None else value * scale_xy[position % 2]
        for position, value in enumerate(values)
    ]


class _Annotations:
    """The annotations of one image."""

    def __init__(
        self, size_hw: tuple[int, int], names: Mapping[Hashable, str], repeated: frozenset[int]
    ) -> None:
        self._names = names
        self._repeated = repeated
        self._captions: list[Any] = []
        self._gatherer = Gatherer(size_hw)

    def add(self, record: Mapping[str, Any], was_utf8: bool) -> None:
        """Take one annotation's record."""
        name = f"annotation {record.get('id')}"
        if is_caption(record):
            self._captions.append(keepable(record.get("caption")))
            self._gatherer.note(Beside.CAPTIONS, name, 1)
            return
        fields = self._fields(record, name, was_utf8)
        segmentation = record.get("segmentation")
        size_hw = self._gatherer.size_hw
        if not segmentation or segmentation == [[]]:
            self._gatherer.add(fields, _box_piece(record, size_hw))
        elif isinstance(segmentation, dict):
            rle = geometry.foreign_rle(segmentation, size_hw)
            self._gatherer.add(fields, rle, stated=stated_of(record))
        else:
            rings = geometry.polygon(segmentation, size_hw)
            self._gatherer.add(fields, rings, stated=stated_of(record))

    def add_segments(self, record: Mapping[str, Any], maps: PanopticMaps, was_utf8: bool) -> None:
        """Take the segments of a panoptic annotation."""
        segments = segments_of(record) or ()
        file_name = record.get("file_name")
        found = maps.masks(file_name, self._gatherer.size_hw)
        if isinstance(found, Loss):
            self._gatherer.lose(found, f"segments of {file_name}", len(segments))
            return
        for segment in segments:
            if not isinstance(segment, dict):
                self._gatherer.lose(Loss.BAD_RECORD, f"a segment of {file_name}")
                continue
            number = segment.get("id")
            fields = self._fields(segment, f"segment {number}", was_utf8)
            mask = found.get(number) if isinstance(number, int) else None
            self._gatherer.add(fields, Loss.EMPTY if mask is None else (mask, ()))

    def finish(self, attributes: dict[str, Any]) -> ImportedImage:
        """All that was taken. attributes: of the image."""
        if self._captions:
            attributes["captions"] = self._captions
        return self._gatherer.finish(attributes)

    def _fields(self, record: Mapping[str, Any], name: str, was_utf8: bool) -> dict[str, Any]:
        repairs: list[Repair] = []
        if not was_utf8:
            repairs.append(Repair.ENCODING)
        annotation_id = record.get("id")
        if isinstance(annotation_id, int) and annotation_id in self._repeated:
            repairs.append(Repair.REPEATED_ID)
        engine, extra = engine_fields(record, _OWN_KEYS)
        category_id = record.get("category_id")
        category = self._names.get(category_id) if is_id(category_id) else None
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


def _ids(annotation_id: Any, category_id: Any) -> dict[str, Any]:
    """The source's own numbers, where it has them."""
    if type(annotation_id) is int and type(category_id) is int:
        return {"source_id": annotation_id, "category_id": category_id}
    given = {"source_id": annotation_id, "category_id": category_id}
    return {key: keepable(value) for key, value in given.items() if value is not None}


def _box_piece(record: Mapping[str, Any], size_hw: tuple[int, int]) -> Piece:
    """The box of an annotation without a mask; turned, it is a mask."""
    given = record.get("bbox")
    if not isinstance(given, list):
        return Loss.EMPTY if record.get("segmentation") == [[]] else Loss.NO_SHAPE
    box = geometry.box(given)
    attributes = record.get("attributes")
    degrees = number(attributes.get("rotation")) if isinstance(attributes, dict) else None
    if box is None or not (degrees or 0) % 360:
        return BoxPiece(box)
    x, y, width, height = box
    center = (x + width / 2, y + height / 2)
    return geometry.rotated_box(center, (width, height), degrees=degrees or 0, size_hw=size_hw)
