"""Several annotation files of one data set, such as one for each of its splits."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sa_engine.formats.base import AnnotationSource, ImportedImage, ListedImage
from sa_engine.formats.readers.coco import CocoSource
from sa_engine.formats.readers.label_studio import LabelStudioSource
from sa_engine.formats.reasons import Beside, Note


class JoinedSource:
    """The sources of several files below one folder. See `AnnotationSource`.

    An image is looked for in its file's folder first.
    """

    unlisted_are_empty = False

    def __init__(
        self, root: Path, parts: Mapping[Path, AnnotationSource], passed_over: Sequence[Path] = ()
    ) -> None:
        self._root = root
        self._parts = list(parts.values())
        self._places: list[tuple[int, int]] = []
        self.images: list[ListedImage] = []
        for which, (path, part) in enumerate(parts.items()):
            folder = path.parent.relative_to(root).as_posix()
            for index, image in enumerate(part.images):
                self._places.append((which, index))
                self.images.append(_inside(image, "" if folder == "." else folder))
        self.notes: Sequence[Note] = [
            *(note for part in self._parts for note in part.notes),
            *(Note(Beside.FILES, path.relative_to(root).as_posix()) for path in passed_over),
        ]
        rows = {repr(row): row for part in self._parts for row in part.categories}
        self.categories: Sequence[Mapping[str, Any]] = list(rows.values())
        self.about = _about(self._parts)

    @property
    def image_folder(self) -> str | None:
        """`images` of the folder, or the whole folder."""
        if len(self._parts) == 1:
            return self._parts[0].image_folder
        inside = self._root / "images"
        return str(inside if inside.is_dir() else self._root)

    def size_hw(self, index: int) -> tuple[int, int] | None:
        """See `AnnotationSource.size_hw`."""
        which, place = self._places[index]
        return self._parts[which].size_hw(place)

    def count(self, index: int) -> int:
        """See `AnnotationSource.count`."""
        which, place = self._places[index]
        return self._parts[which].count(place)

    def is_answered(self, index: int) -> bool:
        """Whether anybody has answered, where the format has answers."""
        which, place = self._places[index]
        part = self._parts[which]
        return not isinstance(part, LabelStudioSource) or part.is_answered(place)

    def read(self, index: int, size_hw: tuple[int, int]) -> ImportedImage:
        """See `AnnotationSource.read`."""
        which, place = self._places[index]
        return self._parts[which].read(place, size_hw)

    def is_stretched(self, index: int) -> bool:
        """See `CocoSource.is_stretched`; False of other formats."""
        which, place = self._places[index]
        part = self._parts[which]
        return isinstance(part, CocoSource) and part.is_stretched(place)

    def read_stretched(self, index: int, size_hw: tuple[int, int]) -> ImportedImage:
        """See `CocoSource.read_stretched`."""
        which, place = self._places[index]
        part = self._parts[which]
        if not isinstance(part, CocoSource):
            raise TypeError(f"image {index} is of a file that stretches nothing")
        return part.read_stretched(place, size_hw)


def _inside(image: ListedImage, folder: str) -> ListedImage:
    if not folder or folder.rpartition("/")[2] == "annotations":
        return image
    subset = image.subset or folder.rpartition("/")[2]
    return replace(image, subset=subset)


def _about(parts: Sequence[AnnotationSource]) -> Mapping[str, Any]:
    about: dict[str, Any] = {}
    for part in parts:
        for key, value in part.about.items():
            if isinstance(value, list):
                kept = about.setdefault(key, [])
                kept += [each for each in value if each not in kept]
            else:
                about.setdefault(key, value)
    return about
