"""Pictures of a dataset for people: one overlay per image, and a page to look through."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from sa_engine.dataset.images.reading import read_rgb
from sa_engine.dataset.reader import Dataset
from sa_engine.dataset.records import ImageRecord, ImageStatus
from sa_engine.dataset.sources.listing import read_source_bytes
from sa_engine.errors import ImageError, UsageError
from sa_engine.report.gallery import GalleryEntry, gallery_page
from sa_engine.report.overlay import overlay

PAGE_NAME = "index.html"


@dataclass(frozen=True, slots=True)
class PicturesSummary:
    """What was written: counts, and the page to open."""

    images: int
    masks: int
    without_photograph: int
    page: Path


def write_pictures(
    dataset: Dataset,
    out: Path,
    *,
    limit: int | None = None,
    progress: Callable[[ImageRecord], None] | None = None,
) -> PicturesSummary:
    """Write `overlay_<id>.jpg` for each image that went through, and `index.html`, into `out`.

    limit: stop after so many images; None is all of them. Each image adds its photograph and its
    masks to the page, so a page of some hundred images is a comfortable size for a browser.

    A photograph that cannot be read again is shown grey in the page, and has no overlay.
    Raises UsageError if `out` cannot be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot write to {out}: {error.strerror}; choose another --out") from None
    images = masks = without = 0

    def entries() -> Iterator[GalleryEntry]:
        nonlocal images, masks, without
        for record in dataset.images():
            if record.status is not ImageStatus.OK:
                continue
            if limit is not None and images >= limit:
                return
            rgb = _photograph(dataset, record)
            if rgb is None:
                without += 1
            else:
                segmentations = [mask.segmentation for mask in record.annotations]
                _write_jpeg(out / f"overlay_{record.image_id}.jpg", overlay(rgb, segmentations))
            images += 1
            masks += len(record.annotations)
            yield GalleryEntry(record, rgb)
            if progress is not None:
                progress(record)

    page = out / PAGE_NAME
    with page.open("w", encoding="utf-8") as file:
        for piece in gallery_page(Path(dataset.folder.url).name, entries()):
            file.write(piece)
    return PicturesSummary(images, masks, without, page)


def _photograph(dataset: Dataset, record: ImageRecord) -> NDArray[np.uint8] | None:
    """The stored image, or the one it was made from; None if neither can be had at that size."""
    try:
        if dataset.has_image(record):
            return dataset.read_rgb(record)
        ids = dataset.manifest.image_ids(dataset.manifest.shard_of(record.image_id))
        source = dataset.inputs().shard(dataset.manifest.shard_of(record.image_id))[
            record.image_id - ids[0]
        ]
        rgb = read_rgb(read_source_bytes(source))
    except ImageError:
        return None
    if rgb.shape[:2] == (record.height, record.width):
        return rgb
    if min(rgb.shape[:2]) > min(record.height, record.width):
        # It was downsized on its way in.
        size_wh = (record.width, record.height)
        return cv2.resize(rgb, size_wh, interpolation=cv2.INTER_AREA).astype(np.uint8)
    return None


def _write_jpeg(path: Path, rgb: NDArray[np.uint8]) -> None:
    _, data = cv2.imencode(".jpg", rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])
    path.write_bytes(data.tobytes())
