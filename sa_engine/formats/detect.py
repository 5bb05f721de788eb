"""Which format an annotation source has, and opening it."""

from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import Any

from sa_engine.errors import AnnotationError, UsageError
from sa_engine.formats.base import AnnotationSource
from sa_engine.formats.codecs.jsonfile import JsonFile
from sa_engine.formats.readers.bsds import BsdsSource
from sa_engine.formats.readers.coco import CocoSource
from sa_engine.formats.readers.cvat import CvatSource
from sa_engine.formats.readers.datumaro import DatumaroSource
from sa_engine.formats.readers.label_images import DavisSource, LabelImageSource, VocSource
from sa_engine.formats.readers.label_studio import LabelStudioSource
from sa_engine.formats.readers.labelme import LabelmeSource
from sa_engine.formats.readers.sa1b import Sa1bSource
from sa_engine.formats.readers.yolo import YoloSource

_HEAD_BYTES = 4096
_LOOKED_AT = 2000
"""Files of a folder that are looked at to tell its format."""

_TEXT_FILE = (
    "{path} is a text file, which says nothing of where its images lie: for YOLO give the data "
    "set's folder or its data.yaml, for other formats the annotation file or folder"
)


class Format(StrEnum):
    """The formats that can be imported, by their names on the command line."""

    COCO = "coco"
    LVIS = "lvis"
    SA_1B = "sa-1b"
    LABELME = "labelme"
    CVAT = "cvat"
    LABEL_STUDIO = "label-studio"
    YOLO_SEG = "yolo-seg"
    MASKS = "masks"
    VOC = "voc"
    DAVIS = "davis"
    DATUMARO = "datumaro"
    BSDS = "bsds"


_OPENERS: Mapping[Format, Callable[[Path], AnnotationSource]] = {
    Format.COCO: CocoSource,
    Format.LVIS: CocoSource,
    Format.SA_1B: Sa1bSource,
    Format.LABELME: LabelmeSource,
    Format.CVAT: CvatSource,
    Format.LABEL_STUDIO: LabelStudioSource,
    Format.YOLO_SEG: YoloSource,
    Format.MASKS: LabelImageSource,
    Format.VOC: VocSource,
    Format.DAVIS: DavisSource,
    Format.DATUMARO: DatumaroSource,
    Format.BSDS: BsdsSource,
}

_ONE_FILE = frozenset({Format.COCO, Format.LVIS, Format.CVAT, Format.LABEL_STUDIO})
"""Formats of a single file; a folder stands for the one such file in it."""


def open_annotations(path: Path, kind: Format) -> AnnotationSource:
    """Open a source of a known format.

    Raises UsageError if there is nothing, AnnotationError if it is not of that format.
    """
    _check_exists(path)
    if kind in _ONE_FILE and path.is_dir():
        ending = ".xml" if kind is Format.CVAT else ".json"
        inside = sorted(path.glob(f"*{ending}"))
        if len(inside) != 1:
            raise UsageError(
                f"{path} has {len(inside)} {ending} files: name the one that holds the annotations"
            )
        path = inside[0]
    if kind is Format.YOLO_SEG and path.suffix.lower() == ".txt":
        raise UsageError(_TEXT_FILE.format(path=path))
    return _OPENERS[kind](path)


def detect_format(path: Path) -> Format:
    """The format of a file or folder, told by its files. UsageError if it cannot be told."""
    _check_exists(path)
    try:
        kind = _of_folder(path) if path.is_dir() else _of_file(path)
    except AnnotationError as error:
        raise UsageError(f"cannot tell the format of {path}: {error}") from error
    if kind is None:
        raise UsageError(
            f"cannot tell the format of {path}: say it with --format "
            f"({', '.join(each.value for each in Format)})"
        )
    return kind


def _check_exists(path: Path) -> None:
    if not path.exists():
        raise UsageError(f"there is no {path}: give an existing file or folder")


def _of_folder(path: Path) -> Format | None:
    if path.name == "SegmentationObject" or (path / "SegmentationObject").is_dir():
        return Format.VOC
    if (path / "annotations").is_dir() and any((path / "annotations").glob("*.json")):
        inner = {_of_json(file) for file in (path / "annotations").glob("*.json")}
        return Format.DATUMARO if inner == {Format.DATUMARO} else None
    endings = _endings(path)
    if (path / "Annotations").is_dir() and (path / "JPEGImages").is_dir() and ".png" in endings:
        return Format.DAVIS
    if ".mat" in endings:
        return Format.BSDS
    if ".tar" in endings:
        return Format.SA_1B
    json_file, xml_file = endings.get(".json"), endings.get(".xml")
    if json_file is not None:
        return _of_json(json_file)
    if xml_file is not None:
        return _of_file(xml_file)
    if ".yaml" in endings or ".yml" in endings or ".txt" in endings:
        return Format.YOLO_SEG
    return Format.MASKS if ".png" in endings else None


def _of_file(path: Path) -> Format | None:
    match path.suffix.lower():
        case ".zip" | ".gz" | ".tgz" | ".7z":
            raise UsageError(f"{path} is packed: unpack it and give the folder")
        case ".json":
            return _of_json(path)
        case ".xml":
            with path.open("rb") as file:
                head = file.read(_HEAD_BYTES).replace(b"\0", b"")
            return Format.CVAT if b"<annotations" in head else None
        case ".mat":
            return Format.BSDS
        case ".tar":
            return Format.SA_1B
        case ".yaml" | ".yml":
            return Format.YOLO_SEG
        case ".txt":
            raise UsageError(_TEXT_FILE.format(path=path))
        case ".png":
            return Format.MASKS
    return None


def _of_json(path: Path) -> Format | None:
    """By the names of the outermost object's members; by the first element of an array."""
    file = JsonFile(path)
    if file.outermost() == "[":
        first: Any = next((element.value for element in file.elements()), None)
        return Format.LABEL_STUDIO if isinstance(first, dict) and "data" in first else None
    keys: set[str] = set()
    for element in file.elements():
        keys.add(element.key)
        if element.key == "shapes":
            return Format.LABELME
        if element.key == "items":
            return Format.DATUMARO
        if element.key == "image" and isinstance(element.value, dict):
            return Format.SA_1B
        if element.key == "images" and element.in_array and isinstance(element.value, dict):
            is_lvis = "neg_category_ids" in element.value
            return Format.LVIS if is_lvis else Format.COCO
    return Format.COCO if {"images", "annotations"} & keys else None


def _endings(path: Path) -> dict[str, Path]:
    """Endings of the first files below a folder, each with a file that has it."""
    found: dict[str, Path] = {}
    for file in islice(_files(path), _LOOKED_AT):
        found.setdefault(file.suffix.lower(), file)
    return found


def _files(path: Path) -> Iterator[Path]:
    """Files below a folder in the order of their names, those nearest first."""
    inner = []
    for entry in sorted(path.iterdir()):
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            inner.append(entry)
        elif entry.is_file():
            yield entry
    for folder in inner:
        yield from _files(folder)
