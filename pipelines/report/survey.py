"""Every image of a dataset measured, in parts, by several processes."""

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from sa_engine.dataset.reader import Dataset
from sa_engine.dataset.records import ImageRecord, ImageStatus
from sa_engine.dataset.sources.listing import read_source_bytes
from sa_engine.errors import DatasetError, ImageError
from sa_engine.report.figures.gathered import DatasetFigures
from sa_engine.report.figures.image_measures import ImageMeasures, measure_image
from sa_engine.report.figures.near_duplicates import image_hash
from sa_engine.report.figures.strangest import COUNT, Strangest

IMAGE_COLUMNS = (
    *("image_id", "source", "status", "error", "width", "height", "masks", "covered"),
    *("mean_relative_size", "mean_concavity", "mean_predicted_iou", "mean_stability_score"),
    *("nested_share", "same_share"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SurveyPlan:
    """Which images of a dataset are measured, and how.

    path: the dataset's folder or URL.
    positions: of the images (see `Dataset`); None for all.
    strangest: images that are kept for each oddity.
    with_hashes: look at the photographs for those that look alike.
    """

    path: Path | str
    positions: tuple[int, ...] | None = None
    strangest: int = COUNT
    with_hashes: bool = True


@dataclass(slots=True)
class DatasetSurvey:
    """What was found in some images of a dataset.

    rows: by IMAGE_COLUMNS, of each image.
    contents: (image id, first 64 bits of its SHA-256). hashes: (image id, what it looks like).
    """

    figures: DatasetFigures = field(default_factory=DatasetFigures)
    strangest: Strangest = field(default_factory=Strangest)
    rows: list[tuple[Any, ...]] = field(default_factory=list)
    contents: list[tuple[int, int]] = field(default_factory=list)
    hashes: list[tuple[int, int]] = field(default_factory=list)

    def update(self, other: "DatasetSurvey") -> None:
        """Take over another part, but for its rows."""
        self.figures.update(other.figures)
        self.strangest.update(other.strangest)
        self.contents += other.contents
        self.hashes += other.hashes


def survey(
    plan: SurveyPlan, *, workers: int = 1, progress: Callable[[int], None] | None = None
) -> Iterator[DatasetSurvey]:
    """The parts of a dataset's survey in order, each measured by one of `workers` processes.

    progress: called with the number of images of each part.
    Raises DatasetError if a shard cannot be read.
    """
    dataset = Dataset(plan.path, allow_incomplete=True)
    units = _units(dataset, plan, workers)
    with ExitStack() as stack:
        if workers > 1 and len(units) > 1:
            context = multiprocessing.get_context("spawn")
            pool = stack.enter_context(ProcessPoolExecutor(workers, mp_context=context))
            parts = pool.map(_survey_unit, [plan] * len(units), units)
        else:
            parts = map(_survey_unit, [plan] * len(units), units)
        for part in parts:
            if progress is not None:
                progress(len(part.rows))
            yield part


@dataclass(frozen=True, slots=True)
class _Unit:
    """Rows `first`, `first + step`, … of a shard, or images at positions if these are given."""

    shard_index: int = 0
    first: int = 0
    step: int = 1
    positions: tuple[int, ...] | None = None


def _units(dataset: Dataset, plan: SurveyPlan, workers: int) -> list[_Unit]:
    if plan.positions is not None:
        parts = np.array_split(np.array(plan.positions, dtype=np.int64), 4 * workers)
        return [_Unit(positions=tuple(part.tolist())) for part in parts if part.size]
    shards = dataset.shard_indices
    # Few shards are divided among the processes, which read the rows of the others in passing.
    step = 1 if len(shards) >= 4 * workers else workers
    return [_Unit(index, first, step) for index in shards for first in range(step)]


def _survey_unit(plan: SurveyPlan, unit: _Unit) -> DatasetSurvey:
    # Processes share the cores already.
    cv2.setNumThreads(1)
    dataset = Dataset(plan.path, allow_incomplete=True)
    ref = dataset.manifest.model
    model = "not recorded" if ref is None else f"{ref.name} ({ref.sha256[:8]})"
    found = DatasetSurvey(strangest=Strangest(plan.strangest))
    for record in _records(dataset, unit):
        if record.status is not ImageStatus.OK:
            found.figures.add_failure(record)
            found.rows.append(_failed_row(record))
            continue
        measured = measure_image(record, model=model)
        found.figures.add(measured)
        found.strangest.add(measured)
        found.rows.append(_row(measured))
        if record.sha256:
            found.contents.append((record.image_id, int(record.sha256[:16], 16)))
        seen = _hash(dataset, record) if plan.with_hashes else None
        if seen is not None:
            found.hashes.append((record.image_id, seen))
    return found


def _records(dataset: Dataset, unit: _Unit) -> Iterator[ImageRecord]:
    if unit.positions is not None:
        yield from (dataset[position] for position in unit.positions)
        return
    for row, record in enumerate(dataset.shard_images(unit.shard_index)):
        if row % unit.step == unit.first:
            yield record


def _hash(dataset: Dataset, record: ImageRecord) -> int | None:
    """What the photograph looks like; None if it is not there."""
    try:
        if dataset.has_image(record):
            return image_hash(dataset.read_image_bytes(record))
        index = dataset.manifest.shard_of(record.image_id)
        first = dataset.manifest.image_ids(index)[0]
        return image_hash(read_source_bytes(dataset.inputs().shard(index)[record.image_id - first]))
    except (ImageError, DatasetError):
        return None


def _row(image: ImageMeasures) -> tuple[Any, ...]:
    record, masks = image.record, image.masks

    def mean(name: str) -> float | None:
        column = masks[name]
        known = column[~np.isnan(column)]
        return float(known.mean()) if known.size else None

    def share(name: str) -> float | None:
        return float((masks[name] >= 0.9).mean()) if len(masks[name]) else None

    return (
        *(record.image_id, record.source, record.status.value, None, record.width, record.height),
        *(len(image.stages), image.covered, mean("relative_size"), mean("concavity")),
        *(mean("predicted_iou"), mean("stability_score"), share("inside"), share("largest_iou")),
    )


def _failed_row(record: ImageRecord) -> tuple[Any, ...]:
    known = (record.image_id, record.source, record.status.value, record.error)
    return (*known, *[None] * (len(IMAGE_COLUMNS) - len(known)))
