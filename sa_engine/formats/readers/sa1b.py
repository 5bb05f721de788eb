"""SA-1B: a JSON file per image, in a folder or in the tar shards that hold the images too.

Format: the dataset card of "Segment Anything". Masks made by a model keep their stage, scores and
prompts; records that name no stage are taken as the fully automatic stage's, which all of SA-1B is.
The published `bbox` is one pixel short of COCO's in both sides; boxes are measured again.

Which image: `image.file_name`, else the image of the file's own name.
"""

import re
from pathlib import Path
from typing import Any

from sa_engine.dataset.records import Stage
from sa_engine.errors import AnnotationError
from sa_engine.formats.base import ImportedImage, ListedImage
from sa_engine.formats.codecs import geometry, jsonfile
from sa_engine.formats.fields import engine_fields, keepable, text, whole_size
from sa_engine.formats.readers.folders import (
    AnnotationFile,
    FilePerImage,
    files_below,
    json_object,
    stem,
)
from sa_engine.formats.readers.gather import Gatherer, stated_of
from sa_engine.formats.reasons import Loss

_OWN_KEYS = frozenset({"id", "segmentation", "area", "bbox", "category", "iscrowd", "attributes"})
ORIGINAL_NAME = "original_file_name"
"""Member of an exported `image` that holds the image's name where its shard calls it sa_<id>."""

_IMAGE_KEYS = frozenset({"image_id", "width", "height", "file_name", ORIGINAL_NAME})
_HEAD = 4096
_FILE_NAME = re.compile(rb'"image"\s*:\s*\{[^{}]*?"file_name"\s*:\s*("(?:[^"\\]|\\.)*")')


class Sa1bSource(FilePerImage[dict[str, Any]]):
    """A folder of SA-1B's JSON files, a tar of them, or a folder of such tars."""

    def __init__(self, path: Path) -> None:
        super().__init__(_files(path))
        self._path = path
        self.images = [_listed(file) for file in self._files]

    @property
    def image_folder(self) -> str | None:
        """The folder or tars of the JSON files hold the images too."""
        if self._files[0].offset is not None and self._path.is_dir():
            return str(self._path / "*.tar")
        return str(self._path if self._path.suffix != ".json" else self._path.parent)

    def size_hw(self, index: int) -> tuple[int, int] | None:
        """See `AnnotationSource.size_hw`."""
        image = (self.content(index) or {}).get("image", {})
        return whole_size(image.get("height"), image.get("width"))

    def count(self, index: int) -> int:
        """See `AnnotationSource.count`."""
        content = self.content(index)
        return 1 if content is None else len(content["annotations"])

    def read(self, index: int, size_hw: tuple[int, int]) -> ImportedImage:
        """See `AnnotationSource.read`."""
        content = self.content(index)
        if content is None:
            return self.unreadable(index)
        gatherer = Gatherer(size_hw)
        for position, record in enumerate(content["annotations"]):
            name = f"annotation {position}"
            if not isinstance(record, dict):
                gatherer.lose(Loss.BAD_RECORD, name)
                continue
            segmentation = record.get("segmentation")
            if isinstance(segmentation, dict):
                piece = geometry.foreign_rle(segmentation, size_hw)
                fields = _fields(record, f"annotation {record.get('id')}")
                gatherer.add(fields, piece, stated=stated_of(record))
            else:
                gatherer.lose(Loss.BAD_RLE, name)
        image = content["image"]
        extra = {key: value for key, value in image.items() if key not in _IMAGE_KEYS}
        name = image.get(ORIGINAL_NAME) or image.get("file_name")
        known = {"source_id": image.get("image_id"), "file_name": name}
        return gatherer.finish(keepable({**known, **extra}))

    def parse(self, data: bytes) -> dict[str, Any]:
        """An object with "image" and "annotations"."""
        content = json_object(data)
        if not isinstance(content.get("image"), dict):
            raise AnnotationError('it has no "image"')
        if not isinstance(content.get("annotations"), list):
            raise AnnotationError('it has no list of "annotations"')
        return content


def _listed(file: AnnotationFile) -> ListedImage:
    """The image of a file, by its head alone: masks may make it long."""
    own = stem(file.name)
    try:
        found = _FILE_NAME.search(file.read_head(_HEAD))
        name = text(jsonfile.parse(found[1])[0]) if found else None
    except (AnnotationError, ValueError):
        name = None
    if name is None:
        return ListedImage(own + ".jpg", any_ending=(own,))
    folder = file.name.rpartition("/")[0]
    beside = f"{folder}/{name}" if folder else name
    return ListedImage(beside, (own + ".jpg",), any_ending=(own,))


def _files(path: Path) -> list[AnnotationFile]:
    if path.is_dir():
        tars = sorted(path.glob("*.tar"))
        if tars:
            return [file for tar in tars for file in files_below(tar, (".json",))]
    return files_below(path, (".json",))


def _fields(record: dict[str, Any], name: str) -> dict[str, Any]:
    fields, extra = engine_fields(record, _OWN_KEYS, default_stage=Stage.AUTOMATIC)
    nested = record.get("attributes")
    return {
        **fields,
        "name": name,
        "category": text(record.get("category")),
        "iscrowd": record.get("iscrowd") in (1, True),
        "attributes": {
            **({"source_id": keepable(record["id"])} if "id" in record else {}),
            **(keepable(nested) if isinstance(nested, dict) else {}),
            **extra,
        },
    }
