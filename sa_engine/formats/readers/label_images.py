"""Masks as pictures: PNG maps of objects or classes.

A pixel's value is the number of the object that it belongs to, 0 is background. Files keep their
palette indices; the palette's colours mean nothing here. 255 is void (unlabelled pixels along the
outlines) in 8-bit maps, unless the numbers run up to it or it is the only one, as in binary masks.
In a map of colours each colour is an object, or the class that a list of colours says it is of
(see `colour_maps`).

Which image: the one of the map's name; of CamVid's `<subset>annot/` the one in `<subset>/`, of
Cityscapes' `<name>_gtFine_instanceIds.png` `<name>_leftImg8bit`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sa_engine.errors import AnnotationError
from sa_engine.formats.base import ImportedImage, ImportedMask, ListedImage
from sa_engine.formats.codecs import labelmaps, png
from sa_engine.formats.codecs.colour_maps import number_colours, read_list
from sa_engine.formats.readers.folders import AnnotationFile, FilePerImage, files_below, stem
from sa_engine.formats.reasons import Loss, Note, Repair

VOID = 255


@dataclass(frozen=True, slots=True)
class ObjectMap:
    """A map's numbers, (H, W); None if it is a picture of many colours and no map.

    colours: of each number, as "#rrggbb"; empty for maps of numbers.
    """

    numbers: NDArray[Any] | None
    colours: Mapping[int, str] = field(default_factory=dict)


class LabelImageSource(FilePerImage[ObjectMap]):
    """A folder of PNG maps, one per picture and named like it. See `AnnotationSource`."""

    _void_is_documented = False

    def __init__(self, path: Path) -> None:
        given = path
        super().__init__(map_files(path))
        path = _folder_of_maps(path)
        self._root = path if path.is_dir() else path.parent
        self._list = read_list(self._root, self._root.parent, given)
        self.categories = [
            {"id": number, "name": name} for number, name in sorted(self._list.names.items())
        ]
        self.images = [_listed(file.name) for file in self._files]

    @property
    def image_folder(self) -> str | None:
        """`images` beside the folder of maps, or the folder that has maps and images in its own."""
        names = [file.name for file in self._files]
        if any(_is_beside_images(name) or stem(name).endswith(_CITYSCAPES) for name in names):
            return str(self._root)
        beside = self._root.parent / "images"
        return str(beside) if beside.is_dir() else None

    def size_hw(self, index: int) -> tuple[int, int] | None:
        """The map's own size."""
        content = self.content(index)
        if content is None or content.numbers is None:
            return None
        height, width = content.numbers.shape
        return height, width

    def count(self, index: int) -> int:
        """Objects of the map."""
        content = self.content(index)
        if content is None or content.numbers is None:
            return 1
        values = np.unique(content.numbers)
        void = self._void(values, content)
        return int(np.count_nonzero((values != 0) & (values != void)))

    def read(self, index: int, size_hw: tuple[int, int]) -> ImportedImage:
        """See `AnnotationSource.read`."""
        content = self.content(index)
        if content is None:
            return self.unreadable(index)
        attributes = self._image_attributes(index)
        name = self._files[index].name
        if content.numbers is None:
            return ImportedImage(notes=(Note(Loss.NO_MAP, name),), attributes=attributes)
        if content.numbers.shape != size_hw:
            note = Note(Loss.IMAGE_SIZE, name, self.count(index))
            return ImportedImage(notes=(note,) if note.count else (), attributes=attributes)
        void = self._void(np.unique(content.numbers), content)
        notes: list[Note] = []
        masks: list[ImportedMask] = []
        for label, mask in labelmaps.split(content.numbers):
            if label == void:
                attributes["void"] = mask.to_coco()
                if not self._void_is_documented:
                    notes.append(Note(Repair.VOID_255, name))
                continue
            masks.append(
                ImportedMask(
                    segmentation=mask,
                    name=f"object {label}",
                    **self._fields(label, content, name),
                )
            )
        masks = self._with_classes(index, content.numbers, masks)
        return ImportedImage(masks=tuple(masks), notes=tuple(notes), attributes=attributes)

    def parse(self, data: bytes) -> ObjectMap:
        """The numbers of a PNG, or of its colours."""
        return read_map(data, self._numbers_of_colours())

    def _numbers_of_colours(self) -> Mapping[int, int]:
        return self._list.numbers

    def _fields(self, label: int, content: ObjectMap, name: str) -> dict[str, Any]:
        colour = {"colour": content.colours[label]} if label in content.colours else {}
        # KITTI's instance maps hold 256 times the class and the object's number in it.
        number = label >> 8 if "instance" in name.split("/") else label
        if number in self._list.names:
            own = {"object": label} if number != label else {}
            attributes = {**own, "category_id": number, **colour}
            return {"category": self._list.names[number], "attributes": attributes}
        repairs = (Repair.UNKNOWN_CATEGORY,) if self._list.names else ()
        return {"repairs": repairs, "attributes": {"object": label, **colour}}

    def _void(self, values: NDArray[Any], content: ObjectMap) -> int | None:
        """The value of unlabelled pixels; None if there are none."""
        if not is_of_8_bits(content) or content.colours or VOID not in values:
            return None
        alone = set(values.tolist()) <= {0, VOID}
        return None if alone or VOID - 1 in values else VOID

    def _image_attributes(self, index: int) -> dict[str, Any]:
        return {"file_name": stem(self._files[index].name)}

    def _with_classes(
        self,
        index: int,  # noqa: ARG002 - for formats that know more
        numbers_HW: NDArray[Any],  # noqa: ARG002
        masks: list[ImportedMask],
    ) -> list[ImportedMask]:
        return masks


def read_map(data: bytes, numbers: Mapping[int, int]) -> ObjectMap:
    """A PNG map. AnnotationError if it cannot be read.

    numbers: of packed colours, where it is a map of colours.
    """
    if not png.are_colours(data):
        found = png.read(data)
        if not found.size:
            raise AnnotationError("it has no pixels")
        return ObjectMap(found)
    numbered = number_colours(png.read_colours(data), numbers)
    return ObjectMap(None) if numbered is None else ObjectMap(*numbered)


def is_of_8_bits(content: ObjectMap) -> bool:
    """Whether a map's numbers end at 255, so that this may be void."""
    return content.numbers is not None and content.numbers.dtype == np.uint8


_CITYSCAPES = "_gtFine_instanceIds"


def map_files(path: Path) -> list[AnnotationFile]:
    """The maps among the PNGs, where a data set's custom tells them from images and other maps."""
    found = files_below(_folder_of_maps(path), (".png",))
    cityscapes = [file for file in found if stem(file.name).endswith(_CITYSCAPES)]
    return cityscapes or [file for file in found if _is_beside_images(file.name)] or found


def _folder_of_maps(path: Path) -> Path:
    # Else the pictures beside them, which may be PNGs too, would be taken for maps.
    return path / "masks" if (path / "masks").is_dir() else path


def _is_beside_images(name: str) -> bool:
    """Whether a map lies in KITTI's or CamVid's folder of maps, beside one of images."""
    parts = name.split("/")[:-1]
    return "instance" in parts or any(part.endswith("annot") for part in parts)


def _listed(name: str) -> ListedImage:
    *folders, last = stem(name).split("/")
    folders = [part.removesuffix("annot") or part for part in folders]
    if "instance" in folders:
        folders[folders.index("instance")] = "image_2"
    if last.endswith(_CITYSCAPES):
        folders = ["leftImg8bit" if part == "gtFine" else part for part in folders]
        last = last.removesuffix(_CITYSCAPES) + "_leftImg8bit"
    plain = "/".join((*folders, last))
    return ListedImage(plain + ".png", any_ending=(plain,))
