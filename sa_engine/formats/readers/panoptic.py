"""COCO panoptic: an annotation names a PNG, in whose colours the numbers of its segments stand.

Format: https://cocodataset.org/#format-data, section 4. A segment's number is red + 256 green
+ 65536 blue; 0 is unlabelled. The PNGs lie in a folder of the JSON file's name.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sa_engine.errors import AnnotationError
from sa_engine.formats.codecs import labelmaps, png
from sa_engine.formats.names import safe_parts
from sa_engine.formats.reasons import Loss
from sa_engine.masks.rle import Rle


def segments_of(record: Mapping[str, Any]) -> Sequence[Any] | None:
    """The list of segments that makes an annotation a panoptic one; None for other annotations."""
    segments = record.get("segments_info")
    return segments if isinstance(segments, list) else None


class PanopticMaps:
    """The PNGs that belong to a COCO panoptic file."""

    def __init__(self, json_path: Path) -> None:
        folder, stem = json_path.absolute().parent, json_path.stem
        parts = (folder / stem, folder.parent / stem, folder / "masks", folder)
        self._folders = tuple(part for part in parts if part.is_dir())

    def masks(self, file_name: object, size_hw: tuple[int, int]) -> Mapping[int, Rle] | Loss:
        """The mask of each number in a PNG, or why there is none."""
        data = self._bytes(file_name)
        if data is None:
            return Loss.BAD_FILE
        try:
            numbers: NDArray[Any] = png.read_colours(data)
        except AnnotationError:
            return Loss.BAD_FILE
        if numbers.shape != size_hw:
            return Loss.IMAGE_SIZE
        return dict(labelmaps.split(numbers.astype(np.int64)))

    def _bytes(self, file_name: object) -> bytes | None:
        parts = safe_parts(file_name) if isinstance(file_name, str) else []
        for folder in self._folders if parts else ():
            try:
                return folder.joinpath(*parts).read_bytes()
            except (OSError, ValueError):
                continue
        return None
