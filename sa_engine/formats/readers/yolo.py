"""YOLO segmentation: a text file per image, one ring a row, as parts of the picture's sides.

Format: https://docs.ultralytics.com/datasets/segment/ and /pose/; Darknet's `obj.data`. A row is a
class number and x, y pairs in [0, 1]; a row of five numbers is a box (centre and sides), of six a
box and its score. Where `data.yaml` has a `kpt_shape`, every row is a box and key points, and no
ring. A picture without a text file holds no object.

Which image: the one of the label file's path with `images` for `labels`, or beside the file. Which
class: `names` in `data.yaml`, or one a line in `classes.txt`, Darknet's `obj.names` or Roboflow's
`_darknet.labels`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sa_engine.errors import AnnotationError
from sa_engine.formats.base import Box, ImportedImage, ListedImage
from sa_engine.formats.codecs import geometry
from sa_engine.formats.convert import KEY_POINTS
from sa_engine.formats.readers.folders import AnnotationFile, FilePerImage, files_below, stem
from sa_engine.formats.readers.gather import BoxPiece, Gatherer, Piece
from sa_engine.formats.readers.yolo_names import YoloConfig, read_config
from sa_engine.formats.reasons import Loss
from sa_engine.masks.inset import from_pixels

_HEAD_BYTES = 4096


class YoloSource(FilePerImage[list[str]]):
    """A YOLO data set's folder, its `data.yaml`, or its folder of labels."""

    unlisted_are_empty = True

    def __init__(self, path: Path) -> None:
        self._root = path if path.is_dir() else path.parent
        super().__init__(_label_files(self._root))
        self._config = read_config(path if path.is_file() else None, self._root)
        self.categories: Sequence[Mapping[str, Any]] = [
            {"id": number, "name": name} for number, name in sorted(self._config.names.items())
        ]
        self.images = [
            ListedImage(f.name, any_ending=(_image_stem(f.name), stem(f.name))) for f in self._files
        ]

    @property
    def image_folder(self) -> str | None:
        """The data set's folder; `images` beside it where only the labels were given."""
        parts = list(self._root.absolute().parts)
        if "labels" in parts:
            last = len(parts) - 1 - parts[::-1].index("labels")
            beside = Path(*parts[:last], "images", *parts[last + 1 :])
            if beside.is_dir():
                return str(beside)
        return str(self._root)

    def size_hw(self, index: int) -> tuple[int, int] | None:  # noqa: ARG002 - never said
        """None: coordinates are parts of whatever the sides are."""
        return None

    def count(self, index: int) -> int:
        """See `AnnotationSource.count`."""
        rows = self.content(index)
        return 1 if rows is None else len(rows)

    def read(self, index: int, size_hw: tuple[int, int]) -> ImportedImage:
        """See `AnnotationSource.read`."""
        rows = self.content(index)
        if rows is None:
            return self.unreadable(index)
        gatherer = Gatherer(size_hw)
        for position, row in enumerate(rows, start=1):
            name = f"row {position}"
            numbers = numbers_of(row)
            if numbers is None:
                gatherer.lose(Loss.BAD_RECORD, name)
                continue
            class_number, values = numbers
            piece, extra = _piece(values, size_hw, self._config)
            fields = {
                "name": name,
                "category": self._config.names.get(class_number, str(class_number)),
                "attributes": {"category_id": class_number, **extra},
            }
            gatherer.add(fields, piece)
        return gatherer.finish({"file_name": _image_stem(self._files[index].name)})

    def parse(self, data: bytes) -> list[str]:
        """The rows that are not empty."""
        if b"\0" in data:
            raise AnnotationError("it is not a text file")
        return [row for row in data.decode("utf-8-sig", "replace").splitlines() if row.strip()]


def is_label_file(head: bytes) -> bool | None:
    """Whether a text file that begins like this holds labels; None if it holds nothing."""
    rows = [row for row in head.decode("utf-8-sig", "replace").splitlines() if row.strip()]
    return numbers_of(rows[0]) is not None if rows else None


def numbers_of(row: str) -> tuple[int, Any] | None:
    """Class number and coordinates of a row; None if it is not made of numbers."""
    try:
        first, *rest = (float(part) for part in row.split())
    except ValueError:
        return None
    if len(rest) < 4 or not first.is_integer() or not 0 <= first < 1 << 31:
        return None
    return int(first), np.array(rest)


def _label_files(root: Path) -> list[AnnotationFile]:
    found = files_below(root, (".txt",))
    # Other text files may lie about; where there are folders of labels, those are meant.
    files = [file for file in found if "labels" in file.name.split("/")[:-1]]
    if not files:
        heads = [is_label_file(file.read_head(_HEAD_BYTES)) for file in found]
        # Empty files belong to pictures without objects where others hold labels.
        files = [f for f, is_one in zip(found, heads, strict=True) if is_one is not False]
        files = files if any(heads) else []
    if not files:
        raise AnnotationError(f"no label files (.txt with rows of numbers) in {root}")
    return files


def _image_stem(name: str) -> str:
    """Where the picture of a label file lies: `images` in place of `labels`."""
    parts = stem(name).split("/")
    return "/".join("images" if part == "labels" else part for part in parts)


def _piece(
    values: Any, size_hw: tuple[int, int], config: YoloConfig
) -> tuple[Piece, dict[str, Any]]:
    """What a row's coordinates are, and further attributes."""
    height, width = size_hw
    if config.key_points is not None:
        count, dims = config.key_points
        if len(values) != 4 + count * dims:
            return Loss.BAD_RECORD, {}
        points = values[4:].reshape(count, dims)
        return BoxPiece(_box(values[:4], size_hw)), {KEY_POINTS: _key_points(points, size_hw)}
    if len(values) in (4, 5):
        score = {"score": float(values[4])} if len(values) == 5 else {}
        return BoxPiece(_box(values[:4], size_hw)), score
    if len(values) % 2:
        return Loss.BAD_POLYGON, {}
    scale = np.tile((float(width), float(height)), len(values) // 2)
    ring = values * scale
    if config.rings_in_pixels:
        ring = from_pixels(ring)
    return geometry.polygon([list(ring)], size_hw), {}


def _key_points(points: Any, size_hw: tuple[int, int]) -> list[float]:
    """Key points as COCO has them; two numbers without a visibility are visible unless both 0."""
    height, width = size_hw
    found: list[float] = []
    for x, y, *visibility in points.tolist():
        seen = visibility[0] if visibility else 2.0 * bool(x or y)
        found += [x * width, y * height, int(seen)] if np.isfinite([x, y, seen]).all() else [0] * 3
    return found


def _box(values: Any, size_hw: tuple[int, int]) -> Box | None:
    height, width = size_hw
    x, y, w, h = values.tolist()
    return geometry.box(((x - w / 2) * width, (y - h / 2) * height, w * width, h * height))
