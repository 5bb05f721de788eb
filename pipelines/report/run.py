"""`report`: figures of one dataset, or of several side by side, as a page, JSON and Parquet."""

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sa_engine.dataset.reader import Dataset
from sa_engine.errors import UsageError
from sa_engine.evaluation.groups import Groups, read_groups
from sa_engine.formats.registry import Format
from sa_engine.pipelines.photographs import to_jpeg
from sa_engine.pipelines.report.duplicates import (
    Between,
    alike_between,
    alike_pairs,
    in_common,
    same_images,
)
from sa_engine.pipelines.report.foreign import Opened, opened
from sa_engine.pipelines.report.group_counts import group_rows
from sa_engine.pipelines.report.survey import IMAGE_COLUMNS, DatasetSurvey, SurveyPlan, survey
from sa_engine.pipelines.viewer import ViewerWriter, set_names
from sa_engine.report.dataset_page import (
    GENERATOR,
    Duplicates,
    GroupRow,
    ReportSet,
    Thumbnail,
    dataset_page,
)
from sa_engine.report.figures.measures import BY_NAME
from sa_engine.report.figures.strangest import COUNT, Strange
from sa_engine.report.figures.tables import figures_table
from sa_engine.report.overlay import reduced
from sa_engine.report.page_folder import PAGE_NAME, check_page_folder, page_folder
from sa_engine.report.viewer.page import ViewerImage, folder_of

JSON_NAME, FIGURES_NAME, IMAGES_NAME = "report.json", "figures.parquet", "images.parquet"
VIEWER_NAME = "viewer"
THUMBNAIL_SIDE = 160
SHOWN_PAIRS = 24

_IMAGES_SCHEMA = pa.schema(
    [("dataset", pa.string())]
    + [
        (
            name,
            pa.string()
            if name in ("source", "status", "error")
            else pa.int64()
            if name in ("image_id", "width", "height", "masks")
            else pa.float64(),
        )
        for name in IMAGE_COLUMNS
    ]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportRun:
    """What `write_report` is told.

    datasets: folders or URLs of datasets, or annotations in a format that can be imported. One that
        is still being made is measured as far as it is.
    out: a new or empty folder, or one that an earlier run wrote, which is replaced.
    sample: measure so many images of each dataset, evenly spaced, from 1; None for all.
    groups: a table of groups, see `read_groups`.
    images, format: of foreign annotations, as for `import`.
    strangest: images of each list of those that stand out; 0 for none, and no viewer.
    look_alikes: look at the photographs for those that look alike.
    workers: processes, from 1.
    """

    datasets: tuple[Path | str, ...]
    out: Path
    sample: int | None = None
    groups: Path | None = None
    images: str | None = None
    format: Format | None = None
    strangest: int = COUNT
    look_alikes: bool = True
    workers: int = 1


@dataclass(frozen=True, slots=True)
class ReportSummary:
    """What was written: the page, images and masks measured, and what the user should know."""

    page: Path
    images: int
    masks: int
    notes: tuple[str, ...]


def write_report(
    run: ReportRun, *, progress: Callable[[str, int, int], None] | None = None
) -> ReportSummary:
    """Measure the datasets and write the page; the folder appears when it is whole.

    progress: called with (dataset, images done, images in all).
    Raises UsageError for paths and tables that cannot work, DatasetError for what cannot be read or
    written.
    """
    check_page_folder(
        run.out,
        generator=GENERATOR,
        entries=(PAGE_NAME, JSON_NAME, FIGURES_NAME, IMAGES_NAME, VIEWER_NAME),
        apart_from=[str(each) for each in run.datasets],
    )
    groups = None if run.groups is None else read_groups(run.groups)
    names = set_names(run.datasets)
    with ExitStack() as stack:
        scratch = run.out.absolute().parent
        sources = [
            stack.enter_context(opened(path, images=run.images, kind=run.format, scratch=scratch))
            for path in run.datasets
        ]
        folder = stack.enter_context(page_folder(run.out))
        writer = stack.enter_context(pq.ParquetWriter(folder / IMAGES_NAME, _IMAGES_SCHEMA))
        surveys = [
            _measure(run, name, source, writer, progress)
            for name, source in zip(names, sources, strict=True)
        ]
        between = {
            (a, b): alike_between(
                (surveys[a].hashes, surveys[b].hashes),
                (surveys[a].contents, surveys[b].contents),
                SHOWN_PAIRS if run.strangest else 0,
            )
            for a, b in combinations(range(len(names)), 2)
        }
        shown = [
            _shown(run, folder, place, names, sources, surveys, groups, between)
            for place in range(len(names))
        ]
        sets = [each for each, _ in shown]
        pairs = {
            (names[a], names[b]): [
                (shown[a][1](mine, str(mine)), shown[b][1](other, f"{other}, {bits} bits"))
                for mine, other, bits in found.pairs
            ]
            for (a, b), found in between.items()
        }
        (folder / PAGE_NAME).write_text(dataset_page(sets, pairs), encoding="utf-8")
        (folder / JSON_NAME).write_text(_json(sets), encoding="utf-8")
        figures = {each.name: each.figures for each in sets}
        pq.write_table(figures_table(figures), folder / FIGURES_NAME)
    notes = tuple(f"{each.name}: {note}" for each in sets for note in each.notes)
    return ReportSummary(
        run.out / PAGE_NAME,
        sum(each.figures.images for each in sets),
        sum(each.figures.all.masks for each in sets),
        notes,
    )


def _measure(
    run: ReportRun,
    name: str,
    source: Opened,
    writer: Any,
    progress: Callable[[str, int, int], None] | None,
) -> DatasetSurvey:
    """Everything of one dataset; its rows go to the file as they come."""
    dataset = Dataset(source.path, allow_incomplete=True)
    total = len(dataset)
    positions = None
    if run.sample is not None and run.sample < total:
        positions = tuple(i * total // run.sample for i in range(run.sample))
        total = run.sample
    plan = SurveyPlan(
        path=source.path,
        positions=positions,
        strangest=run.strangest,
        with_hashes=run.look_alikes,
    )
    whole, done = DatasetSurvey(), 0
    whole.strangest.count = run.strangest
    for part in survey(plan, workers=run.workers):
        whole.update(part)
        columns = {"dataset": [name] * len(part.rows)}
        for number, column in enumerate(IMAGE_COLUMNS):
            columns[column] = [row[number] for row in part.rows]
        writer.write_table(pa.table(columns, schema=_IMAGES_SCHEMA))
        done += len(part.rows)
        if progress is not None:
            progress(name, done, total)
    return whole


def _shown(
    run: ReportRun,
    folder: Path,
    place: int,
    names: Sequence[str],
    sources: Sequence[Opened],
    surveys: Sequence[DatasetSurvey],
    groups: Groups | None,
    between: Mapping[tuple[int, int], Between],
) -> tuple[ReportSet, Callable[[int, str], Thumbnail]]:
    """What the page says of the dataset at a place, and what makes a thumbnail of an image of it
    that it shows; writes its viewer."""
    found, name = surveys[place], names[place]
    dataset = Dataset(sources[place].path, allow_incomplete=True)
    strange = found.strangest.found() if run.strangest else {}
    num_alike, alike = alike_pairs(found.hashes, found.contents, SHOWN_PAIRS)
    if not run.strangest:
        alike = []
    wanted = {each.image_id for every in strange.values() for each in every}
    wanted |= {image_id for a, b, _ in alike for image_id in (a, b)}
    alike_in_common = {}
    for (a, b), common in between.items():
        if place in (a, b):
            is_first = place == a
            alike_in_common[names[b if is_first else a]] = (
                common.first if is_first else common.second
            )
            wanted |= {pair[0 if is_first else 1] for pair in common.pairs}
    viewer = f"{VIEWER_NAME}/{place + 1}"
    uris = _write_viewer(folder / viewer, name, dataset, sorted(wanted)) if wanted else {}

    def thumbnail(image_id: int, caption: str, mask: int | None = None) -> Thumbnail:
        to_mask = "" if mask is None else f"/{mask + 1}"
        link = f"{viewer}/{PAGE_NAME}#{image_id}{to_mask}"
        return Thumbnail(uri=uris[image_id], link=link, caption=caption)

    notes = _notes(dataset, sources[place], found, run)
    rows: Mapping[str, Sequence[GroupRow]] = {}
    if groups is not None:
        rows, said = group_rows(dataset, groups, sample=run.sample)
        notes += said
    made = ReportSet(
        name=name,
        figures=found.figures,
        notes=tuple(notes),
        viewer=f"{viewer}/{PAGE_NAME}" if wanted else "",
        duplicates=Duplicates(
            same=same_images(found.contents),
            alike=num_alike,
            compared=len(found.hashes),
            pairs=tuple(
                (thumbnail(a, f"{a}"), thumbnail(b, f"{b}, {n} bits")) for a, b, n in alike
            ),
        ),
        strange={
            key: [thumbnail(s.image_id, _caption(s), s.mask) for s in every]
            for key, every in strange.items()
        },
        groups=rows,
        in_common={
            names[other]: in_common(found.contents, surveys[other].contents)
            for other in range(len(names))
            if other != place
        },
        alike_in_common=alike_in_common,
    )
    return made, thumbnail


def _notes(dataset: Dataset, source: Opened, found: DatasetSurvey, run: ReportRun) -> list[str]:
    notes = [source.note] if source.note else []
    if not dataset.is_complete:
        notes.append(
            f"still being made: {len(dataset.shard_indices)} of {dataset.manifest.num_shards} "
            "shards are measured"
        )
    if run.sample is not None and run.sample < len(dataset):
        notes.append(f"a sample of {run.sample:,} of {len(dataset):,} images")
    failed = sum(found.figures.failures.values())
    if not found.figures.images:
        notes.append(f"no image went through: {failed} failed" if failed else "it holds no image")
    elif not found.figures.all.masks:
        notes.append("no image has a mask")
    if run.look_alikes and found.figures.images > len(found.hashes):
        notes.append(
            f"{found.figures.images - len(found.hashes):,} photographs were not compared with the "
            "others: they are not there, or show next to nothing"
        )
    return notes


def _write_viewer(
    folder: Path, name: str, dataset: Dataset, image_ids: Sequence[int]
) -> Mapping[int, str]:
    """A viewer of some images; the data of a thumbnail for each."""
    writer = ViewerWriter(folder, [name], [dataset])
    uris = {}
    for image_id in image_ids:
        key = str(image_id)
        writer.add(ViewerImage(key=key, records=(dataset.record(image_id),)))
        path = folder / folder_of(key) / f"{key}.thumb.jpg"
        bgr = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
        if bgr is None:
            raise UsageError(f"{path} cannot be read again")
        small = to_jpeg(reduced(bgr[..., ::-1].astype(np.uint8), THUMBNAIL_SIDE), 70)
        uris[image_id] = "data:image/jpeg;base64," + base64.b64encode(small).decode("ascii")
    writer.finish()
    return uris


def _caption(strange: Strange) -> str:
    value = strange.value
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"


def _json(sets: Sequence[ReportSet]) -> str:
    content = {
        "measures": {
            name: {"title": m.title, "text": m.text, "unit": m.unit} for name, m in BY_NAME.items()
        },
        "sets": {
            each.name: {
                "notes": each.notes,
                **each.figures.to_json(),
                "duplicates": {
                    "same": each.duplicates.same,
                    "alike": each.duplicates.alike,
                    "compared": each.duplicates.compared,
                },
                "in_common": each.in_common,
                "alike_in_common": each.alike_in_common,
                "groups": {
                    column: [
                        {"value": row.value, "images": row.images, "masks": row.masks}
                        for row in rows
                    ]
                    for column, rows in each.groups.items()
                },
                "strangest": {
                    name: [thumb.link.partition("#")[2] for thumb in thumbs]
                    for name, thumbs in each.strange.items()
                },
            }
            for each in sets
        },
    }
    return json.dumps(content, allow_nan=False, ensure_ascii=False, indent=1) + "\n"
