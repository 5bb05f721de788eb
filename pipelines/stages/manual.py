"""Stage 1 by import: masks that people made elsewhere become a dataset (paper, section 4,
"Assisted-manual stage").

Nothing is lost silently: each repair and each loss is counted by reason and named in the dataset's
`import-report.json`, and what was done to one image also stands in that image's record.
"""

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sa_engine.dataset.folder.base import open_folder, sha256_of
from sa_engine.dataset.folder.sealed import seal
from sa_engine.dataset.images.reading import StoredImage
from sa_engine.dataset.manifest import Manifest, Option, open_output
from sa_engine.dataset.records import ImageRecord, Stage
from sa_engine.dataset.shards.stats import complete_shards
from sa_engine.dataset.shards.writer import clear_scratch
from sa_engine.dataset.sources.listing import (
    Source,
    SourceList,
    list_sources,
)
from sa_engine.dataset.sources.walk import is_image_name
from sa_engine.dataset.verify import REPORT_NAME
from sa_engine.errors import ImageError, UsageError
from sa_engine.formats.base import AnnotationSource
from sa_engine.formats.convert import Converted, convert, with_masks_from_boxes
from sa_engine.formats.detect import detect_format, open_annotations
from sa_engine.formats.fields import number
from sa_engine.formats.frames import Frame, Orientation, is_undecided
from sa_engine.formats.reasons import Loss
from sa_engine.formats.registry import Format
from sa_engine.formats.work.work_source import WorkSource
from sa_engine.pipelines.run.start import run_here, run_workers
from sa_engine.pipelines.run.watch import Progress, RunSummary
from sa_engine.pipelines.run.worker import Annotate, Annotated, Reading
from sa_engine.pipelines.run.workers import Workers
from sa_engine.pipelines.stages.corrections import ProposalSet, decide
from sa_engine.pipelines.stages.corrections_report import proposals_report
from sa_engine.pipelines.stages.frame_evidence import MOST_LOOKED_AT, FrameEvidence
from sa_engine.pipelines.stages.import_report import make_report
from sa_engine.pipelines.stages.matching import match, match_proposals

_END_BYTES = 256

if TYPE_CHECKING:
    from sa_engine.pipelines.stages.box_masks import BoxSegmenter


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportRun:
    """What `run_import` is told.

    annotations: the annotation file or folder.
    out: the dataset's folder, new or to be continued.
    images: where the pictures lie, see `list_sources`; None for where the format has them.
    format: the annotations' format; None to find it from the files.
    proposals: a dataset whose export the annotations are, corrected by people: then it is said of
        each image what was kept, edited, deleted and added (stage 2).
    masks_from_boxes: let a model segment the boxes that have no mask.
    model: the name of a model that comes with the engine; not together with `checkpoint`.
    checkpoint: a weights file.
    device, precision: "auto" takes the best that the machine has.
    limit: only the first so many pictures by name, from 1; None for all.
    images_per_shard: from 1.
    """

    annotations: Path
    out: Path | str
    images: str | None = None
    format: Format | None = None
    proposals: Path | str | None = None
    masks_from_boxes: bool = False
    model: str | None = None
    checkpoint: Path | None = None
    device: str = "auto"
    precision: str = "auto"
    limit: int | None = None
    images_per_shard: int = 1000
    reading: Reading = field(default_factory=Reading)
    workers: Workers = field(default_factory=Workers)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportSummary:
    """What an import did.

    format: the annotations' format.
    run: images and masks of the dataset.
    report: the content of `import-report.json`; None while other workers are still at it.
    """

    format: Format
    run: RunSummary
    report: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportPlan:
    """What an import has found, before it makes anything.

    format: the annotations' format; annotations: where they lie.
    num_annotated: images that they speak of.
    pictures: where pictures were looked for; num_pictures: how many lie there.
    num_images: images that the dataset will have.
    """

    format: Format
    annotations: Path
    num_annotated: int
    pictures: str
    num_pictures: int
    num_images: int


@dataclass(frozen=True, slots=True)
class ImportAnnotator:
    """Gives each picture the annotations that were found for it. See `Annotator`.

    sample: some of the pictures, of which others that say too little are understood.
    exported: where proposals were corrected, for each source's name the ids of
        the images among them that it may be.
    """

    annotations: AnnotationSource
    indices: Mapping[str, tuple[int, ...]]
    sample: Sequence[Source] = ()
    segmenter: "BoxSegmenter | None" = None
    proposals: ProposalSet | None = None
    exported: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def open(self, worker: int) -> Annotate:
        """The function from a picture to its masks."""
        segment = None if self.segmenter is None else self.segmenter.open(worker)

        evidence = FrameEvidence(self.annotations, self.indices, self.sample)

        def annotate(source: Source, image: StoredImage) -> Annotated:
            picture = Orientation(image.orientation, image.size_hw)
            proposed = None
            if self.proposals is not None:
                image_ids = self.exported[source.name]
                proposed = self.proposals.record(image_ids, source, image)
            indices = self.indices[source.name]
            undecided = picture.exif != 1 and any(
                is_undecided(self.annotations.size_hw(index), picture) for index in indices
            )
            ignores_exif = undecided and evidence.ignores_exif()
            found = convert(self.annotations, indices, picture, ignores_exif=ignores_exif)
            if segment is not None:
                found = with_masks_from_boxes(found, segment(image.rgb_HW3, found.boxes))
            if proposed is not None:
                return _decided(source, proposed, found)
            return Annotated(found.masks, found.image_attributes())

        return annotate


def run_import(
    run: ImportRun,
    *,
    progress: Progress | None = None,
    announce: Callable[[ImportPlan], None] = lambda _: None,
) -> ImportSummary:
    """Make a dataset of annotations, or go on where an earlier run stopped.

    announce: told what was found, before anything is made of it.

    Raises UsageError for paths that cannot work, AnnotationError for annotations that cannot be
    read at all, DatasetError if the dataset cannot be written.
    """
    kind = run.format or detect_format(run.annotations)
    annotations = open_annotations(run.annotations, kind)
    proposals = None if run.proposals is None else ProposalSet(run.proposals)
    listing = _image_listing(run, annotations)
    exported: Mapping[str, tuple[int, ...]] = {}
    if proposals is None:
        matched = match(annotations, listing, limit=run.limit)
    else:
        matched, exported = match_proposals(annotations, listing, proposals, limit=run.limit)
    announce(
        ImportPlan(
            format=kind,
            annotations=run.annotations,
            num_annotated=len(annotations.images),
            pictures=run.images or annotations.image_folder or "",
            num_pictures=len(listing),
            num_images=len(matched.sources),
        )
    )
    folder = open_folder(run.out)
    segmenter = _segmenter(run)
    options: dict[str, Option] = {}
    stage = Stage.MANUAL if segmenter is None else None
    model = None if segmenter is None else segmenter.model
    if proposals is not None:
        # Whatever a person confirmed or drew on proposals is stage 2, see `corrections`.
        options["proposals"] = proposals.digest
        stage, model = Stage.SEMI_AUTOMATIC, proposals.dataset.manifest.model
    manifest = Manifest(
        stage=stage,
        model=model,
        num_images=len(matched.sources),
        images_per_shard=run.images_per_shard,
        options={
            "format": kind.value,
            "annotations": _fingerprint(run.annotations, annotations),
            "masks-from-boxes": run.masks_from_boxes,
            "precision": None if segmenter is None else segmenter.precision,
            "limit": run.limit,
            "max-pixels": run.reading.max_pixels,
            "no-images": not run.reading.keep_images,
            **options,
        },
    )
    manifest = open_output(run.out, manifest, matched.sources)
    annotator = ImportAnnotator(
        annotations,
        matched.indices,
        tuple(matched.sources[:MOST_LOOKED_AT]),
        segmenter,
        proposals,
        exported,
    )
    if run.workers.count == 1:
        summary = run_here(
            folder, annotator, reading=run.reading, workers=run.workers, progress=progress
        )
    else:
        summary = run_workers(
            folder, annotator, reading=run.reading, workers=run.workers, progress=progress
        )
    report = None
    if len(complete_shards(folder, manifest)) == manifest.num_shards:
        report = make_report(folder, manifest, kind, annotations, matched)
        if proposals is not None:
            report["proposals"] = proposals_report(folder, manifest, num_exported=len(proposals))
        folder.write(REPORT_NAME, seal(report))
        clear_scratch(run.out, manifest)
    return ImportSummary(format=kind, run=summary, report=report)


def _decided(source: Source, proposed: ImageRecord, found: Converted) -> Annotated:
    """A corrected picture's masks. ImageError where the file speaks of another picture's size."""
    if found.frame is Frame.OTHER or any(n.reason is Loss.IMAGE_SIZE for n in found.dropped):
        raise ImageError(
            "other-size",
            f"{source.name} is {proposed.width}x{proposed.height}, its corrections were made on "
            "another size: export the proposals again, or correct the export as it is",
        )
    seconds = number(found.attributes.get("lead_time_s"))
    if seconds is None:
        times = [mask.time_spent_s for mask in found.masks if mask.time_spent_s is not None]
        seconds = sum(times) if times else None
    decided = decide(proposed, found.masks, seconds=seconds)
    attributes = found.image_attributes() | {"proposals": decided.to_json()}
    return Annotated(decided.masks, attributes)


def _image_listing(run: ImportRun, annotations: AnnotationSource) -> SourceList:
    if run.images is not None:
        return list_sources(run.images)
    if annotations.image_folder is None:
        raise UsageError(f"no pictures beside {run.annotations}: say where they are with --images")
    return list_sources(annotations.image_folder)


def _segmenter(run: ImportRun) -> "BoxSegmenter | None":
    if not run.masks_from_boxes:
        return None
    # Here alone, for it loads the deep learning library, which imports of masks do without.
    from sa_engine.pipelines.stages.box_masks import box_segmenter

    return box_segmenter(run.model, run.checkpoint, run.device, run.precision)


def _fingerprint(path: Path, annotations: AnnotationSource) -> str:
    """A digest that changes when the annotations do.

    Of a folder's images, which may be photographs beside the annotations, only the ends are read: a
    PNG's holds the checksum of all its pixels.
    """
    if isinstance(annotations, WorkSource):
        return annotations.fingerprint
    if path.is_file():
        with path.open("rb") as file:
            return sha256_of(file)
    digest = hashlib.sha256()
    for folder, inner, files in os.walk(path):
        inner.sort()
        for name in sorted(files):
            file_path = Path(folder) / name
            relative = file_path.relative_to(path).as_posix()
            digest.update(f"{relative}\0".encode("utf-8", "surrogateescape"))
            digest.update(_content_mark(file_path))
    return digest.hexdigest()


def _content_mark(path: Path) -> bytes:
    """Bytes that change with a file's content, see `_fingerprint`."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _END_BYTES) if is_image_name(os.fsencode(path.name)) else 0)
            return f"{size} {sha256_of(file)}\n".encode("ascii")
    except OSError:
        return b"unreadable\n"
