"""One self-contained HTML page to look through a dataset's masks."""

import base64
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import resources

import cv2
import numpy as np
from numpy.typing import NDArray

from sa_engine.dataset.records import ImageRecord
from sa_engine.report.overlay import palette

PAGE_LONG_SIDE = 1024
"""Photographs in the page are at most this long, in pixels; masks keep their full size."""

_MARK = "/*DATA*/"


@dataclass(frozen=True, slots=True)
class GalleryEntry:
    """One photograph of the page.

    rgb: (H, W, 3) uint8 at the size of the record's masks, or None where images are not stored.
    """

    record: ImageRecord
    rgb: NDArray[np.uint8] | None


def gallery_page(title: str, entries: Iterable[GalleryEntry]) -> Iterator[str]:
    """The page in pieces to be written one after the other, so that it is never held whole.

    Hovering over a mask shows its id, area, predicted IoU and stability, and the box that prompted
    it with its score where one did; masks that overlap are reached with the mouse wheel. Nothing is
    loaded from elsewhere.
    """
    template = resources.files("sa_engine.report").joinpath("gallery.html").read_text("utf-8")
    head, tail = template.split(_MARK)
    yield head.replace("{{title}}", _escape(title))
    for entry in entries:
        data = json.dumps(_entry_json(entry), allow_nan=False).replace("<", "\\u003c")
        yield f"add({data});\n"
    yield tail


def _entry_json(entry: GalleryEntry) -> dict[str, object]:
    record = entry.record
    return {
        "id": record.image_id,
        "source": record.source,
        "size": [record.height, record.width],
        "photo": _photo_uri(entry.rgb) if entry.rgb is not None else None,
        "masks": [
            {
                "id": record.mask_id(position),
                "counts": mask.segmentation.counts,
                "colour": colour,
                "area": mask.area,
                "iou": mask.predicted_iou,
                "stability": mask.stability_score,
                "stage": str(mask.stage),
                "category": mask.category,
                "boxScore": mask.box_score,
                "box": mask.prompt_box_xywh,
            }
            for position, (mask, colour) in enumerate(
                zip(record.annotations, palette(len(record.annotations)), strict=True)
            )
        ],
    }


def _photo_uri(rgb: NDArray[np.uint8]) -> str:
    height, width = rgb.shape[:2]
    scale = min(1.0, PAGE_LONG_SIDE / max(height, width))
    if scale < 1:
        size_wh = (max(1, round(width * scale)), max(1, round(height * scale)))
        rgb = cv2.resize(rgb, size_wh, interpolation=cv2.INTER_AREA).astype(np.uint8)
    _, data = cv2.imencode(".jpg", rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode("ascii")


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
