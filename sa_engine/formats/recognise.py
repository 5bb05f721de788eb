"""What a single file is, told by its content."""

import tarfile
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from sa_engine.errors import AnnotationError, UsageError
from sa_engine.formats.codecs.jsonfile import JsonFile
from sa_engine.formats.readers.label_images import read_map
from sa_engine.formats.readers.yolo import is_label_file
from sa_engine.formats.registry import Format

_HEAD_BYTES = 4096
_FIRST_MEMBERS = 50
_MOST_PNG_BYTES = 1 << 26


@dataclass(frozen=True, slots=True)
class Finding:
    """A file's format; or what it is instead and what to give, where that is known."""

    format: Format | None = None
    hint: str = ""


def recognise(path: Path) -> Finding:
    """What a file is. UsageError for a packed one."""
    try:
        return _by_suffix(path)
    except AnnotationError as error:
        return Finding(hint=f"damaged ({error})")
    except OSError as error:
        return Finding(hint=f"unreadable ({error.strerror or error})")


def _by_suffix(path: Path) -> Finding:
    match path.suffix.lower():
        case ".zip" | ".gz" | ".tgz" | ".7z":
            raise UsageError(f"{path} is packed: unpack it and give the folder")
        case ".json":
            return _of_json(path)
        case ".xml":
            head = _head(path).replace(b"\0", b"")
            if b"<annotations" in head:
                return Finding(Format.CVAT)
            if b"<pt>" in head or b"<segm>" in head:
                return Finding(hint="of LabelMe 3.0, which is not read: export it as COCO")
            return Finding(Format.VOC if b"<annotation" in head else None)
        case ".csv":
            is_open_images = b"ImageID" in _head(path)
            hint = "of Open Images, which is not read: convert it to COCO"
            return Finding(hint=hint if is_open_images else "")
        case ".mat":
            return Finding(Format.BSDS)
        case ".tar":
            return _of_tar(path)
        case ".yaml" | ".yml":
            is_config = b"names:" in _head(path) or b"kpt_shape:" in _head(path)
            return Finding(Format.YOLO_SEG if is_config else None)
        case ".names" | ".data":
            return Finding(Format.YOLO_SEG if path.name in ("obj.names", "obj.data") else None)
        case ".txt":
            is_one = path.name == "classes.txt" or is_label_file(_head(path))
            return Finding(Format.YOLO_SEG if is_one else None)
        case ".png":
            return _of_png(path)
    return Finding()


def _of_json(path: Path) -> Finding:
    """By the names of the outermost object's members; by the first element of an array."""
    file = JsonFile(path)
    if file.outermost() == "[":
        return _of_element(next((element.value for element in file.elements()), None))
    keys: set[str] = set()
    for element in file.elements():
        keys.add(element.key)
        if element.key == "shapes":
            return Finding(Format.LABELME)
        if element.key == "items":
            return Finding(Format.DATUMARO)
        if element.key == "image" and isinstance(element.value, dict):
            return Finding(Format.SA_1B)
        if element.key == "images" and element.in_array and isinstance(element.value, dict):
            is_lvis = "neg_category_ids" in element.value
            return Finding(Format.LVIS if is_lvis else Format.COCO)
        if element.key in ("_via_img_metadata", "_via_settings"):
            return Finding(hint="a VGG Image Annotator project: export it as COCO")
    if "data" in keys and keys & {"annotations", "completions", "predictions"}:
        return Finding(Format.LABEL_STUDIO)
    if keys & {"images", "annotations"}:
        return Finding(Format.COCO)
    if {"imgHeight", "objects"} <= keys:
        return Finding(hint="Cityscapes polygons: give the folder of the instanceIds maps")
    return Finding()


def _of_element(first: Any) -> Finding:
    if not isinstance(first, dict):
        return Finding()
    if isinstance(first.get("data"), dict):
        return Finding(Format.LABEL_STUDIO)
    if "image_id" in first and {"segmentation", "bbox", "caption"} & first.keys():
        return Finding(
            hint="a list of COCO results, which does not name the images: give a file with them"
        )
    lists = [value for value in first.values() if isinstance(value, list)]
    if any(isinstance(each, dict) and "original_width" in each for own in lists for each in own):
        return Finding(hint="Label Studio's short form (JSON-MIN): export the project as JSON")
    return Finding()


def _of_tar(path: Path) -> Finding:
    """A shard of SA-1B has JSON files among its first members."""
    try:
        with tarfile.open(path, "r:") as archive:
            names = [member.name for member in islice(archive, _FIRST_MEMBERS)]
    except (tarfile.TarError, EOFError, ValueError) as error:
        return Finding(hint=f"damaged ({error})")
    has_json = any(name.lower().endswith(".json") for name in names)
    return Finding(Format.SA_1B) if has_json else Finding(hint="a tar without JSON files")


def _of_png(path: Path) -> Finding:
    if path.stat().st_size > _MOST_PNG_BYTES:
        return Finding()
    is_map = read_map(path.read_bytes(), {}).numbers is not None
    hint = "a picture rather than a map of objects"
    return Finding(Format.MASKS) if is_map else Finding(hint=hint)


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_HEAD_BYTES)
