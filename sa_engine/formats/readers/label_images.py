"""Masks as pictures: PNG instance maps, PASCAL VOC and DAVIS.

A pixel's value is the number of the object that it belongs to, 0 is background. Files keep their
palette indices; the palette's colours mean nothing here. 255 is void in VOC and DAVIS (unlabelled
pixels along the outlines), and in 8-bit maps of other origin too, unless the numbers run up to it
or it is the only one, as in binary masks.

Formats: "The PASCAL Visual Object Classes Challenge 2012 Development Kit", section 3.5; the DAVIS
2017 data set's `Annotations/<size>/<sequence>/<frame>.png`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sa_engine.errors import AnnotationError
from sa_engine.formats.base import ImportedImage, ImportedMask, ListedImage
from sa_engine.formats.codecs import labelmaps, png
from sa_engine.formats.readers.folders import FilePerImage, files_below, stem
from sa_engine.formats.reasons import Loss, Note, Repair

VOID = 255

VOC_CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa"),
    *("train", "tvmonitor"),
)
"""PASCAL VOC's classes, numbered from 1."""

LabelMap = NDArray[Any]


class LabelImageSource(FilePerImage[LabelMap]):
    """A folder of PNG instance maps, one per picture and named like it. See `AnnotationSource`."""

    def __init__(self, path: Path) -> None:
        if (path / "masks").is_dir():
            # Else the pictures beside them, which may be PNGs too, would be taken for maps.
            path = path / "masks"
        super().__init__(files_below(path, (".png",)))
        self._root = path if path.is_dir() else path.parent
        self.images = [ListedImage(f.name, any_ending=(stem(f.name),)) for f in self._files]

    @property
    def image_folder(self) -> str | None:
        """`images` beside the folder of maps."""
        beside = self._root.parent / "images"
        return str(beside) if beside.is_dir() else None

    def size_hw(self, index: int) -> tuple[int, int] | None:
        """The map's own size."""
        labels = self.content(index)
        if labels is None:
            return None
        height, width = labels.shape
        return height, width

    def count(self, index: int) -> int:
        """Objects of the map."""
        labels = self.content(index)
        if labels is None:
            return 0
        values = np.unique(labels)
        void = self._void(values, labels)
        return int(np.count_nonzero((values != 0) & (values != void)))

    def read(self, index: int, size_hw: tuple[int, int]) -> ImportedImage:
        """See `AnnotationSource.read`."""
        labels = self.content(index)
        if labels is None:
            return self.unreadable(index)
        attributes = self._image_attributes(index)
        if labels.shape != size_hw:
            note = Note(Loss.IMAGE_SIZE, self._files[index].name, self.count(index))
            return ImportedImage(notes=(note,) if note.count else (), attributes=attributes)
        void = self._void(np.unique(labels), labels)
        notes: list[Note] = []
        masks: list[ImportedMask] = []
        for label, mask in labelmaps.split(labels):
            if label == void:
                attributes["void"] = mask.to_coco()
                if not self._void_is_documented:
                    notes.append(Note(Repair.VOID_255, self._files[index].name))
                continue
            name = f"object {label}"
            attributed: dict[str, Any] = {"object": label}
            masks.append(ImportedMask(segmentation=mask, name=name, attributes=attributed))
        masks = self._with_classes(index, labels, masks)
        return ImportedImage(masks=tuple(masks), notes=tuple(notes), attributes=attributes)

    def parse(self, data: bytes) -> LabelMap:
        """The values of a PNG."""
        labels = png.read(data)
        if not labels.size:
            raise AnnotationError("it has no pixels")
        return labels

    _void_is_documented = False

    def _void(self, values: NDArray[Any], labels: LabelMap) -> int | None:
        """The value of unlabelled pixels; None if there are none."""
        if labels.dtype != np.uint8 or VOID not in values:
            return None
        alone = set(values.tolist()) <= {0, VOID}
        return None if alone or VOID - 1 in values else VOID

    def _image_attributes(self, index: int) -> dict[str, Any]:
        return {"file_name": stem(self._files[index].name)}

    def _with_classes(
        self,
        index: int,  # noqa: ARG002 - for formats that know more
        labels: LabelMap,  # noqa: ARG002
        masks: list[ImportedMask],
    ) -> list[ImportedMask]:
        return masks


class VocSource(LabelImageSource):
    """A PASCAL VOC folder: `SegmentationObject`, and `SegmentationClass` where it is there."""

    _void_is_documented = True

    def __init__(self, path: Path) -> None:
        root = path.parent if path.name == "SegmentationObject" else path
        if not (root / "SegmentationObject").is_dir():
            raise AnnotationError(f"{path} has no folder SegmentationObject")
        super().__init__(root / "SegmentationObject")
        self._voc = root
        self._names = _voc_names(root)
        self.categories: Sequence[Mapping[str, Any]] = [
            {"id": number, "name": name} for number, name in sorted(self._names.items())
        ]

    @property
    def image_folder(self) -> str | None:
        """`JPEGImages`."""
        return str(self._voc / "JPEGImages")

    def _void(self, values: NDArray[Any], labels: LabelMap) -> int | None:
        return VOID if labels.dtype == np.uint8 and VOID in values else None

    def _with_classes(
        self, index: int, labels: LabelMap, masks: list[ImportedMask]
    ) -> list[ImportedMask]:
        """Each object's class is the one that most of its pixels have."""
        path = self._voc / "SegmentationClass" / self._files[index].name
        try:
            classes = self.parse(path.read_bytes())
        except (OSError, AnnotationError):
            return masks
        if classes.shape != labels.shape:
            return masks
        num_classes = int(classes.max()) + 1
        pairs = labels.astype(np.int64) * num_classes + classes
        votes: dict[int, tuple[int, int]] = {}
        for pair, count in zip(*np.unique(pairs, return_counts=True), strict=True):
            label, class_number = divmod(int(pair), num_classes)
            if class_number not in (0, VOID) and int(count) > votes.get(label, (0, 0))[0]:
                votes[label] = (int(count), class_number)
        return [_classified(mask, votes, self._names) for mask in masks]


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

    def _void(self, values: NDArray[Any], labels: LabelMap) -> int | None:
        # DAVIS 2016 has one object, written as 255.
        alone = set(values.tolist()) <= {0, VOID}
        return VOID if labels.dtype == np.uint8 and VOID in values and not alone else None

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


def _voc_names(root: Path) -> dict[int, str]:
    """Class names by number: of `labelmap.txt` where other tools wrote one, else VOC's own."""
    file = root / "labelmap.txt"
    if not file.is_file():
        return dict(enumerate(VOC_CLASSES, start=1))
    lines = file.read_text("utf-8", "replace").splitlines()
    names = [line.split(":")[0].strip() for line in lines if line.strip() and line[0] != "#"]
    return {number: name for number, name in enumerate(names) if number and name}
