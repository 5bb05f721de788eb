"""`show`: the viewer's folder for one dataset, or for two side by side."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sa_engine.dataset.folder.base import short_names
from sa_engine.dataset.reader import Dataset
from sa_engine.dataset.records import ImageRecord, ImageStatus
from sa_engine.errors import UsageError
from sa_engine.pipelines.pairs import paired
from sa_engine.pipelines.photographs import photograph, to_jpeg
from sa_engine.report.overlay import overlay, reduced
from sa_engine.report.page_folder import PAGE_NAME, check_page_folder, page_folder
from sa_engine.report.viewer.page import (
    DATA_NAME,
    GENERATOR,
    IMAGES_NAME,
    ViewerColumns,
    ViewerImage,
    folder_of,
    viewer_page,
)

LIMIT = 10_000
"""Images of a page that stays quick, and takes minutes to write."""
MAX_SIDE = 1600
THUMBNAIL_SIDE = 320
OVERLAYS_NAME = "overlays"
_BROWSERS_READ = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".avif"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewerRun:
    """What `write_viewer` is told.

    datasets: one, or two to be held against each other; folders or URLs. One that is still being
        made is shown as far as it is.
    out: a new or empty folder, or one that an earlier run wrote, which is replaced.
    limit: only the first so many images that went through, from 1; None for all.
    max_side: photographs with a longer side are stored reduced to it, pixels; masks are not.
    overlays: write a picture of each image with its masks, too.
    """

    datasets: tuple[Path | str, ...]
    out: Path
    limit: int | None = None
    max_side: int = MAX_SIDE
    overlays: bool = False


@dataclass(slots=True)
class ViewerSummary:
    """What was written: counts, and the page to open."""

    page: Path
    images: int = 0
    failed: int = 0
    masks: int = 0
    without_photograph: int = 0
    left_out: int = 0
    matched: int = 0
    is_complete: bool = True
    sets: tuple[str, ...] = field(default=())


def write_viewer(
    run: ViewerRun, *, progress: Callable[[ViewerImage], None] | None = None
) -> ViewerSummary:
    """Write the page and its files; the folder appears when it is whole.

    A photograph that cannot be read again is left out, and its masks are shown on grey. Memory is
    that of one image, whatever it holds: masks are drawn one after the other at the page's size.
    Raises UsageError for paths that cannot work, DatasetError for a folder that cannot be written.
    """
    if not 1 <= len(run.datasets) <= 2:
        raise UsageError(f"{len(run.datasets)} datasets are given: show takes one, or two")
    check_page_folder(
        run.out,
        generator=GENERATOR,
        entries=(PAGE_NAME, DATA_NAME, IMAGES_NAME, OVERLAYS_NAME),
        apart_from=[str(each) for each in run.datasets],
    )
    datasets = [Dataset(each, allow_incomplete=True) for each in run.datasets]
    names = set_names(run.datasets)
    with page_folder(run.out) as folder:
        writer = ViewerWriter(folder, names, datasets, max_side=run.max_side, overlays=run.overlays)
        for image in _images(datasets, run.limit):
            writer.add(image)
            if progress is not None:
                progress(image)
        summary = writer.finish()
    if run.limit is not None and summary.images >= run.limit:
        most = max(len(dataset) for dataset in datasets)
        summary.left_out = max(0, most - summary.images - summary.failed)
    summary.page = run.out / PAGE_NAME
    return summary


class ViewerWriter:
    """Writes a viewer's files into a folder, image by image.

    names, datasets: of the sets that are shown, one or two. max_side, overlays: see `ViewerRun`.
    """

    def __init__(
        self,
        folder: Path,
        names: Sequence[str],
        datasets: Sequence[Dataset],
        *,
        max_side: int = MAX_SIDE,
        overlays: bool = False,
    ) -> None:
        self._folder, self._datasets = folder, datasets
        self._max_side, self._overlays = max_side, overlays
        title = " and ".join(names)
        self._columns = ViewerColumns(title, names)
        self._summary = ViewerSummary(page=folder / PAGE_NAME, sets=tuple(names))
        folder.mkdir(parents=True, exist_ok=True)
        (folder / PAGE_NAME).write_text(viewer_page(title), encoding="utf-8")

    def add(self, image: ViewerImage) -> None:
        """Write an image's files; `image.suffix` is found here."""
        record, summary = image.record, self._summary
        if record.status is not ImageStatus.OK:
            summary.failed += 1
            self._columns.add(image)
            return
        folder = self._folder / folder_of(image.key)
        folder.mkdir(parents=True, exist_ok=True)
        dataset = self._datasets[next(i for i, r in enumerate(image.records) if r is record)]
        rgb = photograph(dataset, record)
        suffix = ""
        if rgb is None:
            summary.without_photograph += 1
        else:
            suffix = self._write_photograph(folder / image.key, dataset, record, rgb)
        shown = ViewerImage(
            key=image.key, records=image.records, matches=image.matches, suffix=suffix
        )
        masks = [mask.segmentation for mask in record.annotations]
        if rgb is None:
            rgb = _grey(record)
        elif self._overlays:
            drawn = overlay(reduced(rgb, self._max_side), masks)
            place = self._folder / OVERLAYS_NAME
            place.mkdir(exist_ok=True)
            (place / f"{image.key}.jpg").write_bytes(to_jpeg(drawn, 90))
        thumbnail = overlay(reduced(rgb, THUMBNAIL_SIDE), masks)
        (folder / f"{image.key}.thumb.jpg").write_bytes(to_jpeg(thumbnail, 80))
        (folder / f"{image.key}.js").write_text(self._columns.add(shown), encoding="utf-8")
        summary.images += 1
        summary.masks += sum(len(each.annotations) for each in image.records if each is not None)
        summary.matched += len(image.matches)

    def finish(self) -> ViewerSummary:
        """Write the columns: the page is whole."""
        notes = [
            f"{dataset.folder.url} is still being made: {len(dataset)} of "
            f"{dataset.manifest.num_images} images are shown."
            for dataset in self._datasets
            if not dataset.is_complete
        ]
        self._summary.is_complete = not notes
        if not self._summary.images:
            failed = self._summary.failed
            notes.append(f"No image went through: {failed} failed." if failed else "No image.")
        data = self._columns.data(" ".join(notes))
        (self._folder / DATA_NAME).write_text(data, encoding="utf-8")
        return self._summary

    def _write_photograph(
        self, path: Path, dataset: Dataset, record: ImageRecord, rgb: NDArray[np.uint8]
    ) -> str:
        """Returns the file's suffix. What browsers read is copied unless it is large."""
        suffix = Path(record.file_name).suffix.lower()
        is_small = max(record.height, record.width) <= self._max_side
        if is_small and suffix in _BROWSERS_READ and dataset.has_image(record):
            path.with_name(path.name + suffix).write_bytes(dataset.read_image_bytes(record))
            return suffix
        data = to_jpeg(reduced(rgb, self._max_side), 90)
        path.with_name(path.name + ".jpg").write_bytes(data)
        return ".jpg"


def _images(datasets: Sequence[Dataset], limit: int | None) -> Iterator[ViewerImage]:
    left = limit
    for image in _all_images(datasets):
        if left == 0:
            return
        if left is not None and image.record.status is ImageStatus.OK:
            left -= 1
        yield image


def _all_images(datasets: Sequence[Dataset]) -> Iterable[ViewerImage]:
    if len(datasets) == 1:
        for record in datasets[0].images():
            yield ViewerImage(key=str(record.image_id), records=(record,))
        return
    for pair in paired(*datasets):
        first, second = pair.first, pair.second
        key = f"b{second.image_id}" if first is None and second is not None else ""
        if first is not None:
            key = str(first.image_id)
        yield ViewerImage(key=key, records=(first, second), matches=pair.matches)


def set_names(paths: Sequence[Path | str]) -> list[str]:
    """The folders' names, with their parents' where they are the same, numbered where these are."""
    pairs = [short_names(path) for path in paths]
    names = [name for _, name in pairs]
    if len(set(names)) < len(names):
        names = [f"{parent}/{name}" for parent, name in pairs]
    if len(set(names)) < len(names):
        names = [f"{name} ({number})" for number, name in enumerate(names, start=1)]
    return names


def _grey(record: ImageRecord) -> NDArray[np.uint8]:
    scale = THUMBNAIL_SIDE / max(record.height, record.width, THUMBNAIL_SIDE)
    size_hw = (max(1, round(record.height * scale)), max(1, round(record.width * scale)))
    return np.full((*size_hw, 3), 51, dtype=np.uint8)
