"""YOLO segmentation: a text file per image, one ring a row, as parts of the picture's sides.

Format: https://docs.ultralytics.com/datasets/segment/. A row is a class number and x, y pairs in
[0, 1]; a row of five numbers is a box (centre and sides). Class names are in `data.yaml`, or one a
line in `classes.txt`. A picture without a text file holds no object.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from sa_engine.errors import AnnotationError
from sa_engine.formats.base import Box, ImportedImage, ListedImage
from sa_engine.formats.codecs import geometry
from sa_engine.formats.fields import text
from sa_engine.formats.readers.folders import AnnotationFile, FilePerImage, files_below, stem
from sa_engine.formats.readers.gather import Gatherer
from sa_engine.formats.reasons import Loss

_NOT_LABELS = frozenset({"classes.txt", "obj.names", "train.txt", "val.txt", "test.txt"})
_MAX_YAML_BYTES = 1 << 20


class YoloSource(FilePerImage[list[str]]):
    """A YOLO data set's folder, its `data.yaml`, or its folder of labels."""

    unlisted_are_empty = True

    def __init__(self, path: Path) -> None:
        self._root = path if path.is_dir() else path.parent
        super().__init__(_label_files(self._root))
        names = _class_names(path if path.is_file() else None, self._root)
        self._names = names
        self.categories: Sequence[Mapping[str, Any]] = [
            {"id": number, "name": name} for number, name in sorted(names.items())
        ]
        self.images = [
            ListedImage(f.name, any_ending=(_image_stem(f.name), stem(f.name))) for f in self._files
        ]

    @property
    def image_folder(self) -> str | None:
        """The data set's folder; `images` beside it where only the labels were given."""
        if self._root.name == "labels" and (self._root.parent / "images").is_dir():
            return str(self._root.parent / "images")
        return str(self._root)

    def size_hw(self, index: int) -> tuple[int, int] | None:  # noqa: ARG002 - never said
        """None: coordinates are parts of whatever the sides are."""
        return None

    def count(self, index: int) -> int:
        """See `AnnotationSource.count`."""
        return len(self.content(index) or ())

    def read(self, index: int, size_hw: tuple[int, int]) -> ImportedImage:
        """See `AnnotationSource.read`."""
        rows = self.content(index)
        if rows is None:
            return self.unreadable(index)
        gatherer = Gatherer(size_hw)
        for position, row in enumerate(rows, start=1):
            name = f"row {position}"
            numbers = _numbers(row)
            if numbers is None:
                gatherer.lose(Loss.BAD_RECORD, name)
                continue
            class_number, values = numbers
            fields = {
                "name": name,
                "category": self._names.get(class_number, str(class_number)),
                "attributes": {"category_id": class_number},
            }
            height, width = size_hw
            if len(values) == 4:
                gatherer.add_box(fields, _box(values, size_hw))
            elif len(values) % 2:
                gatherer.lose(Loss.BAD_POLYGON, name)
            else:
                scale = np.tile((float(width), float(height)), len(values) // 2)
                gatherer.add(fields, geometry.polygon([list(values * scale)], size_hw))
        return gatherer.finish({"file_name": _image_stem(self._files[index].name)})

    def parse(self, data: bytes) -> list[str]:
        """The rows that are not empty."""
        if b"\0" in data:
            raise AnnotationError("it is not a text file")
        return [row for row in data.decode("utf-8-sig", "replace").splitlines() if row.strip()]


def _label_files(root: Path) -> list[AnnotationFile]:
    found = [
        file
        for file in files_below(root, (".txt",))
        if file.name.rpartition("/")[2].lower() not in _NOT_LABELS
    ]
    # Other text files may lie about; where there are folders of labels, those are meant.
    inside = [file for file in found if "labels" in file.name.split("/")[:-1]]
    files = inside if inside else found
    if not files:
        raise AnnotationError(f"no label files (.txt) in {root}")
    return files


def _image_stem(name: str) -> str:
    """Where the picture of a label file lies: `images` in place of `labels`."""
    parts = stem(name).split("/")
    return "/".join("images" if part == "labels" else part for part in parts)


def _numbers(row: str) -> tuple[int, Any] | None:
    """Class number and coordinates of a row; None if it is not made of numbers."""
    try:
        first, *rest = (float(part) for part in row.split())
    except ValueError:
        return None
    if len(rest) < 4 or not first.is_integer() or not 0 <= first < 1 << 31:
        return None
    return int(first), np.array(rest)


def _box(values: Any, size_hw: tuple[int, int]) -> Box | None:
    height, width = size_hw
    x, y, w, h = values.tolist()
    return geometry.box(((x - w / 2) * width, (y - h / 2) * height, w * width, h * height))


def _class_names(given: Path | None, root: Path) -> dict[int, str]:
    """Names by class number; empty where nothing says them."""
    files = [given] if given is not None and given.suffix in (".yaml", ".yml") else []
    for folder in (root, root.parent):
        files += [folder / "data.yaml", folder / "dataset.yaml"]
    for file in files:
        if file.is_file():
            return _names_in_yaml(file)
    for folder in (root, root.parent):
        file = folder / "classes.txt"
        if file.is_file():
            lines = file.read_text("utf-8-sig", "replace").splitlines()
            return {number: line.strip() for number, line in enumerate(lines) if line.strip()}
    return {}


def _names_in_yaml(file: Path) -> dict[int, str]:
    try:
        if file.stat().st_size > _MAX_YAML_BYTES:
            raise AnnotationError(f"{file} has over {_MAX_YAML_BYTES} bytes")
        content = yaml.safe_load(file.read_bytes())
    except (OSError, yaml.YAMLError, ValueError, RecursionError) as error:
        raise AnnotationError(f"cannot read {file}: {error}") from error
    names = content.get("names") if isinstance(content, dict) else None
    pairs: list[tuple[Any, Any]] = []
    if isinstance(names, list):
        pairs = list(enumerate(names))
    elif isinstance(names, dict):
        pairs = list(names.items())
    found = {}
    for number, name in pairs:
        label = text(name)
        if label is not None and isinstance(number, int | str) and str(number).isdecimal():
            found[int(number)] = label
    return found
