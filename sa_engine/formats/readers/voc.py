"""PASCAL VOC and DAVIS: object maps in folders of fixed names.

Formats: "The PASCAL Visual Object Classes Challenge 2012 Development Kit", section 3.5; the DAVIS
2017 data set's `Annotations/<size>/<sequence>/<frame>.png`. VOC's maps are palette indices, and
colours in what CVAT and Datumaro write, with the classes' colours in `labelmap.txt`. 255 is void.
The boxes of `Annotations` are those of the masks, and boxes without a mask where there is none.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sa_engine.errors import AnnotationError
from sa_engine.formats.base import ImportedImage, ImportedMask
from sa_engine.formats.codecs.colour_maps import read_list
from sa_engine.formats.readers import voc_xml
from sa_engine.formats.readers.folders import stem
from sa_engine.formats.readers.gather import Gatherer
from sa_engine.formats.readers.label_images import (
    VOID,
    LabelImageSource,
    ObjectMap,
    is_of_8_bits,
    read_map,
)
from sa_engine.formats.readers.voc_xml import VocObject
from sa_engine.formats.reasons import Beside, Note
from sa_engine.masks.rle import boxes_xywh

VOC_CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa"),
    *("train", "tvmonitor"),
)
"""PASCAL VOC's classes, numbered from 1."""


class VocSource(LabelImageSource):
    """A PASCAL VOC folder: `SegmentationObject`, and `SegmentationClass` where it is there.

    Without object maps each class of a picture is one region.
    """

    _void_is_documented = True

    def __init__(self, path: Path) -> None:
        root = path.parent if path.name in ("SegmentationObject", "SegmentationClass") else path
        self._has_objects = (root / "SegmentationObject").is_dir()
        maps = root / ("SegmentationObject" if self._has_objects else "SegmentationClass")
        if not maps.is_dir():
            raise AnnotationError(f"{path} has no folder SegmentationObject or SegmentationClass")
        super().__init__(maps)
        self._voc = root
        self._list = read_list(root)
        self._names = self._list.names or dict(enumerate(VOC_CLASSES, start=1))
        self.categories: Sequence[Mapping[str, Any]] = [
            {"id": number, "name": name} for number, name in sorted(self._names.items())
        ]

        self._boxes = self._voc / "Annotations"
        with_maps = {stem(file.name) for file in self._files}
        others = [file for file in sorted(self._boxes.glob("*.xml")) if file.stem not in with_maps]
        if others:
            what = f"Annotations/{others[0].name}"
            self.notes = [Note(Beside.FILES, what, len(others), of_images=True)]

    @property
    def image_folder(self) -> str | None:
        """`JPEGImages`."""
        return str(self._voc / "JPEGImages")

    def count(self, index: int) -> int:
        """See `AnnotationSource.count`."""
        size_hw = self.size_hw(index)
        if size_hw is None or not self._objects(index):
            return super().count(index)
        image = super().read(index, size_hw)
        return len(image.masks) + len(self._without_masks(index, image))

    def read(self, index: int, size_hw: tuple[int, int]) -> ImportedImage:
        """See `AnnotationSource.read`."""
        image = super().read(index, size_hw)
        if self.size_hw(index) != size_hw:
            return image
        gatherer = Gatherer(size_hw)
        for each in self._without_masks(index, image):
            fields = {"category": each.category, "attributes": each.attributes}
            gatherer.add_box({"name": f"box of {each.category}", **fields}, each.box_xywh)
        found = gatherer.finish()
        return replace(image, boxes=found.boxes, notes=(*image.notes, *found.notes))

    def _objects(self, index: int) -> tuple[VocObject, ...]:
        path = self._boxes / f"{stem(self._files[index].name)}.xml"
        try:
            return voc_xml.parse(path.read_bytes()).objects
        except (OSError, AnnotationError):
            return ()

    def _without_masks(self, index: int, image: ImportedImage) -> list[VocObject]:
        masks = [mask.segmentation for mask in image.masks]
        return voc_xml.boxes_beside(self._objects(index), boxes_xywh(masks))

    def _numbers_of_colours(self) -> Mapping[int, int]:
        # An object's colour says nothing of its class.
        return {} if self._has_objects else self._list.numbers

    def _fields(self, label: int, content: ObjectMap, name: str) -> dict[str, Any]:  # noqa: ARG002
        if self._has_objects:
            return {"attributes": {"object": label}}
        attributes = {"category_id": label}
        return {"category": self._names.get(label, str(label)), "attributes": attributes}

    def _void(self, values: NDArray[Any], content: ObjectMap) -> int | None:
        may_have_void = is_of_8_bits(content) or content.colours
        return VOID if may_have_void and VOID in values else None

    def _with_classes(
        self, index: int, numbers_HW: NDArray[Any], masks: list[ImportedMask]
    ) -> list[ImportedMask]:
        """Each object's class is the one that most of its pixels have."""
        if not self._has_objects:
            return masks
        path = self._voc / "SegmentationClass" / self._files[index].name
        try:
            classes = read_map(path.read_bytes(), self._list.numbers).numbers
        except (OSError, AnnotationError):
            return masks
        if classes is None or classes.shape != numbers_HW.shape:
            return masks
        num_classes = int(classes.max()) + 1
        pairs = numbers_HW.astype(np.int64) * num_classes + classes
        votes: dict[int, tuple[int, int]] = {}
        for pair, count in zip(*np.unique(pairs, return_counts=True), strict=True):
            label, class_number = divmod(int(pair), num_classes)
            if class_number not in (0, VOID) and int(count) > votes.get(label, (0, 0))[0]:
                votes[label] = (int(count), class_number)
        return [_classified(mask, votes, self._names) for mask in masks]


def open_voc(path: Path) -> VocSource | voc_xml.VocXmlSource:
    """A VOC folder with maps, or the XML files of one without."""
    names = ("SegmentationObject", "SegmentationClass")
    if path.name in names or any((path / name).is_dir() for name in names):
        return VocSource(path)
    return voc_xml.VocXmlSource(path)


class DavisSource(LabelImageSource):
    """A DAVIS folder: `Annotations` with a folder per sequence, and `JPEGImages`."""

    _void_is_documented = True

    def __init__(self, path: Path) -> None:
        root = path.parent if path.name == "Annotations" else path
        if not (root / "Annotations").is_dir():
            raise AnnotationError(f"{path} has no folder Annotations")
        super().__init__(root / "Annotations")
        self._davis = root

    @property
    def image_folder(self) -> str | None:
        """`JPEGImages`."""
        return str(self._davis / "JPEGImages")

    def _void(self, values: NDArray[Any], content: ObjectMap) -> int | None:
        # DAVIS 2016 has one object, written as 255.
        alone = set(values.tolist()) <= {0, VOID}
        return VOID if is_of_8_bits(content) and VOID in values and not alone else None

    def _image_attributes(self, index: int) -> dict[str, Any]:
        folders = self._files[index].name.split("/")[:-1]
        sequence = {"sequence": folders[-1]} if folders else {}
        return {**super()._image_attributes(index), **sequence}


def _classified(
    mask: ImportedMask, votes: Mapping[int, tuple[int, int]], names: Mapping[int, str]
) -> ImportedMask:
    number = votes.get(mask.attributes["object"], (0, 0))[1]
    if not number:
        return mask
    return ImportedMask(
        segmentation=mask.segmentation,
        name=mask.name,
        category=names.get(number, str(number)),
        attributes={**mask.attributes, "category_id": number},
    )
