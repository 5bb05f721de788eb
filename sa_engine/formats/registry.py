"""The formats that can be imported, and what opens each."""

from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path

from sa_engine.formats.base import AnnotationSource
from sa_engine.formats.readers.bsds import BsdsSource
from sa_engine.formats.readers.coco import CocoSource
from sa_engine.formats.readers.cvat import CvatSource
from sa_engine.formats.readers.datumaro import DatumaroSource
from sa_engine.formats.readers.label_images import LabelImageSource
from sa_engine.formats.readers.label_studio import LabelStudioSource
from sa_engine.formats.readers.labelme import LabelmeSource
from sa_engine.formats.readers.sa1b import Sa1bSource
from sa_engine.formats.readers.voc import DavisSource, open_voc
from sa_engine.formats.readers.yolo import YoloSource
from sa_engine.formats.work.work_source import WorkSource


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
    ANNOTATE = "annotate"


OPENERS: Mapping[Format, Callable[[Path], AnnotationSource]] = {
    Format.COCO: CocoSource,
    Format.LVIS: CocoSource,
    Format.SA_1B: Sa1bSource,
    Format.LABELME: LabelmeSource,
    Format.CVAT: CvatSource,
    Format.LABEL_STUDIO: LabelStudioSource,
    Format.YOLO_SEG: YoloSource,
    Format.MASKS: LabelImageSource,
    Format.VOC: open_voc,
    Format.DAVIS: DavisSource,
    Format.DATUMARO: DatumaroSource,
    Format.BSDS: BsdsSource,
    Format.ANNOTATE: WorkSource,
}

ONE_FILE = frozenset({Format.COCO, Format.LVIS, Format.CVAT, Format.LABEL_STUDIO})
"""Formats of a single file; a folder stands for all such files in it."""
