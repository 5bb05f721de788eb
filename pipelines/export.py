"""From a dataset to other tools' formats. What a format cannot hold is counted, mask by mask."""

import contextlib
import errno
import hashlib
import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from sa_engine.dataset.folder.draft import draft_of
from sa_engine.dataset.folder.files import explain_write
from sa_engine.dataset.folder.sealed import canonical, seal, unseal
from sa_engine.dataset.reader import Dataset
from sa_engine.dataset.records import ImageRecord, ImageStatus
from sa_engine.errors import DamagedError, OutputError, UsageError
from sa_engine.formats.reasons import Lossy, Note, Tally
from sa_engine.formats.writers.base_writer import (
    ExportedImage,
    Filter,
    Writer,
    boxes_of,
)
from sa_engine.formats.writers.coco_instances import CocoWriter
from sa_engine.formats.writers.cvat import CvatWriter
from sa_engine.formats.writers.file_names import Names
from sa_engine.formats.writers.label_studio import LabelStudioWriter
from sa_engine.formats.writers.labelme import LabelmeWriter
from sa_engine.formats.writers.maps import MapWriter
from sa_engine.formats.writers.sa1b import Sa1bWriter
from sa_engine.formats.writers.survey import Survey, survey_of
from sa_engine.formats.writers.yolo import YoloWriter
from sa_engine.pipelines.stages.import_report import read_report
from sa_engine.version import __version__

MARK_NAME = ".sa-engine-export"
"""A small file in an exported folder that says what it was made from: the same command again knows
that it is done. Tools pass over hidden files."""


class OutFormat(StrEnum):
    """The formats that can be exported, by their names on the command line."""

    COCO = "coco"
    YOLO_SEG = "yolo-seg"
    LABELME = "labelme"
    CVAT = "cvat"
    LABEL_STUDIO = "label-studio"
    MASKS = "masks"
    SA_1B = "sa-1b"


_WRITERS: Mapping[OutFormat, Callable[[Path, Survey], Writer]] = {
    OutFormat.COCO: CocoWriter,
    OutFormat.YOLO_SEG: YoloWriter,
    OutFormat.LABELME: LabelmeWriter,
    OutFormat.CVAT: CvatWriter,
    OutFormat.LABEL_STUDIO: LabelStudioWriter,
    OutFormat.MASKS: MapWriter,
    OutFormat.SA_1B: Sa1bWriter,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportRun:
    """What `run_export` is told.

    dataset: a complete dataset's folder or URL.
    out: a folder that is not there yet, or is empty; for COCO also a file's name that ends in
        .json, to which the annotations alone are written.
    filter: which masks are written.
    with_images: write the pictures too, where the dataset holds them.
    polygons: for COCO, write masks without holes as polygons.
    """

    dataset: Path | str
    out: Path
    format: OutFormat
    filter: Filter = field(default_factory=Filter)
    with_images: bool = True
    polygons: bool = False


@dataclass(frozen=True, slots=True)
class ExportSummary:
    """What an export wrote, and what its masks lost."""

    num_images: int
    num_masks: int
    num_left_out: int
    losses: Tally


def run_export(
    run: ExportRun, *, progress: Callable[[int, int], None] | None = None
) -> ExportSummary:
    """Write a dataset in another format. The folder appears when it is whole.

    An export that was finished before is left as it is. progress: called with (images done, images
    in all). Raises UsageError for paths or options that cannot work, DatasetError for an incomplete
    dataset, OutputError where the folder cannot be written.
    """
    if run.polygons and run.format is not OutFormat.COCO:
        raise UsageError(f"polygons can be chosen for coco alone, not for {run.format.value}")
    dataset = Dataset(run.dataset)
    signature = _signature(run, dataset)
    if (finished := _finished(run.out, signature)) is not None:
        return finished
    single = run.format is OutFormat.COCO and run.out.suffix == ".json"
    with explain_write(run.out, OutputError), draft_of(run.out) as draft:
        draft.mkdir()
        summary = _write(run, dataset, draft, progress)
        try:
            if not single:
                (draft / MARK_NAME).write_bytes(seal({"export": signature, **_to_json(summary)}))
                draft.replace(run.out)
            elif run.out.exists():
                if run.out.read_bytes() != (draft / "instances.json").read_bytes():
                    raise _is_taken(run.out)
            else:
                (draft / "instances.json").replace(run.out)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.ENOTDIR, errno.EEXIST):
                raise
            # Another export was faster: the same one, or this raises.
            _finished(run.out, signature)
    return summary


def _to_json(summary: ExportSummary) -> dict[str, Any]:
    return {
        "images": summary.num_images,
        "masks": summary.num_masks,
        "left_out": summary.num_left_out,
        "losses": summary.losses.to_json(),
    }


def _from_json(content: Mapping[str, Any]) -> ExportSummary:
    losses = Tally()
    losses.add_json(content["losses"])
    return ExportSummary(content["images"], content["masks"], content["left_out"], losses)


def _is_taken(out: Path) -> UsageError:
    return UsageError(f"{out} is there already: choose a new or empty folder for --out")


def _signature(run: ExportRun, dataset: Dataset) -> str:
    """What the content of an export depends on."""
    options = {
        "dataset": dataset.digest(),
        "report": repr(read_report(dataset.folder)),
        "format": run.format.value,
        "filter": [run.filter.min_area, run.filter.min_iou, sorted(run.filter.stages)],
        "with_images": run.with_images,
        "polygons": run.polygons,
        "engine": __version__,
    }
    return hashlib.sha256(canonical(options).encode("ascii")).hexdigest()


def _finished(out: Path, signature: str) -> ExportSummary | None:
    """What an earlier run of the same export has made at `out`; None if nothing is there.

    A single file bears no mark: an older one is held against the new one, see `run_export`.
    Raises UsageError if something else is there.
    """
    if not out.exists() or (out.is_file() and out.suffix == ".json"):
        return None
    if out.is_dir() and not any(out.iterdir()):
        return None
    try:
        content = unseal((out / MARK_NAME).read_bytes(), name=MARK_NAME)
        if content["export"] == signature:
            return _from_json(content)
    except (OSError, DamagedError, KeyError, TypeError, ValueError):
        raise _is_taken(out) from None
    raise UsageError(
        f"{out} was exported with other options or from another state of the dataset: remove it, "
        "or choose a new or empty folder for --out"
    )


def _write(
    run: ExportRun, dataset: Dataset, folder: Path, progress: Callable[[int, int], None] | None
) -> ExportSummary:
    survey = survey_of(
        map(run.filter.apply, dataset.images(status=ImageStatus.OK)),
        _source_categories(dataset),
        _about(dataset),
    )
    writer: Writer
    if run.format is OutFormat.COCO:
        writer = CocoWriter(folder, survey, polygons=run.polygons)
    else:
        writer = _WRITERS[run.format](folder, survey)
    names, losses = Names(), Tally()
    num_images = num_masks = left_out = 0
    with _closing_after_failure(writer):
        for position, record in enumerate(dataset.images(), start=1):
            if record.status is ImageStatus.OK:
                image = _exported(run, dataset, record, names)
                left_out += len(record.annotations) - len(image.record.annotations)
                writer.add(image, losses)
                num_images += 1
                num_masks += len(image.record.annotations)
            else:
                losses.add(Note(Lossy.IMAGE_FAILED, record.source, of_images=True))
            if progress is not None:
                progress(position, len(dataset))
        writer.finish()
    if survey.about and run.format is not OutFormat.COCO:
        losses.add(Note(Lossy.NO_ABOUT, ", ".join(sorted(survey.about)), of_images=True))
    return ExportSummary(num_images, num_masks, left_out, losses)


@contextlib.contextmanager
def _closing_after_failure(writer: Writer) -> Iterator[None]:
    """What a full disk has not taken must not be tried again when the files are collected."""
    try:
        yield
    except BaseException:
        for value in vars(writer).values():
            if isinstance(value, io.IOBase):
                with contextlib.suppress(OSError):
                    value.close()
        raise


def _exported(run: ExportRun, dataset: Dataset, record: ImageRecord, names: Names) -> ExportedImage:
    kept = [place for place, mask in enumerate(record.annotations) if run.filter.passes(mask)]
    only_json = run.format is OutFormat.COCO and run.out.suffix == ".json"
    has_image = run.with_images and not only_json and dataset.has_image(record)
    return ExportedImage(
        record=run.filter.apply(record),
        name=names.of(record),
        mask_ids=tuple(record.mask_id(place) for place in kept),
        boxes=tuple(filter(run.filter.passes_box, boxes_of(record))),
        load=(lambda: dataset.read_image_bytes(record)) if has_image else None,
    )


def _about(dataset: Dataset) -> Mapping[str, Any]:
    """What the source said of itself; nothing if that is what an export of ours says."""
    report = read_report(dataset.folder) or {}
    about = report.get("about")
    kept = about if isinstance(about, dict) else {}
    is_ours = kept.get("info") == {"description": "exported by sa-engine"}
    return {key: value for key, value in kept.items() if not (is_ours and key == "info")}


def _source_categories(dataset: Dataset) -> list[Mapping[str, Any]]:
    report = read_report(dataset.folder)
    categories = report.get("categories") if report else None
    return [each for each in categories or () if isinstance(each, dict)]
