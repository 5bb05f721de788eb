"""Which format an annotation source has, and opening it."""

from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path

from sa_engine.errors import AnnotationError, UsageError
from sa_engine.formats.base import AnnotationSource
from sa_engine.formats.bsds import BsdsSource
from sa_engine.formats.coco import CocoSource


class Format(StrEnum):
    """The formats that can be imported, by their names on the command line."""

    COCO = "coco"
    LVIS = "lvis"
    BSDS = "bsds"


_OPENERS: Mapping[Format, Callable[[Path], AnnotationSource]] = {
    Format.COCO: CocoSource,
    Format.LVIS: CocoSource,
    Format.BSDS: BsdsSource,
}


def open_annotations(path: Path, kind: Format) -> AnnotationSource:
    """Open a source of a known format. AnnotationError if it is not one."""
    if not path.exists():
        raise UsageError(f"there is no {path}: give an existing file or folder")
    return _OPENERS[kind](path)


def detect_format(path: Path) -> Format:
    """The format of a file or folder. UsageError if it cannot be told."""
    if not path.exists():
        raise UsageError(f"there is no {path}: give an existing file or folder")
    if path.is_file():
        if path.suffix.lower() == ".json":
            return Format.COCO
        if path.suffix.lower() == ".mat":
            return Format.BSDS
    elif any(path.rglob("*.mat")):
        return Format.BSDS
    raise AnnotationError(f"{path}: unknown format")
