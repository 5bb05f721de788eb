"""Stage 1 by import: masks that people made elsewhere become a dataset (paper, section 4,
"Assisted-manual stage").

Nothing is lost silently: each repair and each loss is counted by reason and named in the dataset's
`import-report.json`, and what was done to one image also stands in that image's record.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

from sa_engine.dataset.folder.base import Folder, open_folder, sha256_of
from sa_engine.dataset.images.reading import StoredImage
from sa_engine.dataset.manifest import Manifest, Option, open_output
from sa_engine.dataset.records import ImageRecord, ImageStatus, Stage
from sa_engine.dataset.shards.stats import complete_shards, parquet_name
from sa_engine.dataset.sources.listing import (
    Source,
    SourceList,
    list_sources,
    read_source_bytes,
)
from sa_engine.errors import ImageError, UsageError
from sa_engine.formats.base import AnnotationSource
from sa_engine.formats.convert import Converted, convert, with_masks_from_boxes
from sa_engine.formats.detect import Format, detect_format, open_annotations
from sa_engine.formats.fields import keepable, number
from sa_engine.formats.frames import Frame, Orientation, exif_orientation
from sa_engine.formats.names import Found, ImageNames
from sa_engine.formats.readers.label_studio import LabelStudioSource
from sa_engine.formats.reasons import Loss, Note, Repair, Tally
from sa_engine.pipelines.run.start import run_here, run_workers
from sa_engine.pipelines.run.watch import Progress, RunSummary
from sa_engine.pipelines.run.worker import Annotate, Annotated, Reading
from sa_engine.pipelines.run.workers import Workers
from sa_engine.pipelines.stages.corrections import ProposalSet, decide
from sa_engine.pipelines.stages.corrections_report import proposals_report

if TYPE_CHECKING:
    from sa_engine.pipelines.stages.box_masks import BoxSegmenter

REPORT_NAME = "import-report.json"


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


@dataclass(frozen=True, slots=True)
class Matched:
    """The pictures that annotations were found for.

    sources: sorted by name, as the dataset lists them.
    indices: for each source's name, its places in the annotation source.
    notes: on images of the annotation source that could not be matched, or not as they were named.
    num_unlisted: pictures that the annotation source does not speak of.
    """

    sources: SourceList
    indices: Mapping[str, tuple[int, ...]]
    notes: Sequence[Note]
    num_unlisted: int


@dataclass(frozen=True, slots=True)
class ImportAnnotator:
    """Gives each picture the annotations that were found for it. See `Annotator`.

    exported: where proposals were corrected, for each source's name the ids of
        the images among them that it may be.
    """

    annotations: AnnotationSource
    indices: Mapping[str, tuple[int, ...]]
    segmenter: "BoxSegmenter | None" = None
    proposals: ProposalSet | None = None
    exported: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def open(self, worker: int) -> Annotate:
        """The function from a picture to its masks."""
        segment = None if self.segmenter is None else self.segmenter.open(worker)

        def annotate(source: Source, image: StoredImage) -> Annotated:
            data = read_source_bytes(source)
            picture = Orientation(exif_orientation(data), image.size_hw)
            proposed = None
            if self.proposals is not None:
                image_ids = self.exported[source.name]
                proposed = self.proposals.record(image_ids, source, data, image)
            found = convert(self.annotations, self.indices[source.name], picture)
            if segment is not None:
                found = with_masks_from_boxes(found, segment(image.rgb_HW3, found.boxes))
            if proposed is not None:
                return _decided(source, proposed, found)
            return Annotated(found.masks, found.image_attributes())

        return annotate


def run_import(run: ImportRun, *, progress: Progress | None = None) -> ImportSummary:
    """Make a dataset of annotations, or go on where an earlier run stopped.

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
            "annotations": _fingerprint(run.annotations),
            "masks-from-boxes": run.masks_from_boxes,
            "precision": None if segmenter is None else segmenter.precision,
            "limit": run.limit,
            "max-pixels": run.reading.max_pixels,
            "no-images": not run.reading.keep_images,
            **options,
        },
    )
    manifest = open_output(run.out, manifest, matched.sources)
    annotator = ImportAnnotator(annotations, matched.indices, segmenter, proposals, exported)
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
        report = _report(folder, manifest, kind, annotations, matched)
        if proposals is not None:
            report["proposals"] = proposals_report(folder, manifest, num_exported=len(proposals))
        text = json.dumps(report, indent=1, allow_nan=False) + "\n"
        folder.write(REPORT_NAME, text.encode("ascii"))
    return ImportSummary(format=kind, run=summary, report=report)


def match(
    annotations: AnnotationSource, listing: SourceList, *, limit: int | None = None
) -> Matched:
    """Find each annotated image among the listed pictures. UsageError if none is found.

    limit: only the first so many pictures of the result.
    """
    names = ImageNames(listing)
    places: dict[int, list[int]] = {}
    notes = []
    for index, image in enumerate(annotations.images):
        found = names.find(image)
        if not isinstance(found, Found):
            notes.append(Note(found, image.file_name, of_images=True))
            lost = annotations.count(index)
            if lost:
                notes.append(Note(found, f"annotations of {image.file_name}", lost))
            continue
        notes += [Note(repair, image.file_name, of_images=True) for repair in found.repairs]
        if found.position in places:
            notes.append(Note(Repair.REPEATED_IMAGE, image.file_name, of_images=True))
        places.setdefault(found.position, []).append(index)
    if not places:
        example = f", {annotations.images[0].file_name!r} among them" if annotations.images else ""
        raise UsageError(
            f"none of the {len(annotations.images)} images of the annotations{example} is among "
            f"the {len(names)} pictures given: give the folder that holds them with --images"
        )
    unlisted = len(names) - len(places)
    chosen = range(len(names)) if annotations.unlisted_are_empty else sorted(places)
    positions = chosen[:limit]
    sources = listing.take(positions)
    indices = {
        source.name: tuple(places.get(position, ()))
        for source, position in zip(sources, positions, strict=True)
    }
    return Matched(sources, indices, tuple(notes), unlisted)


def match_proposals(
    annotations: AnnotationSource,
    listing: SourceList,
    proposals: ProposalSet,
    *,
    limit: int | None = None,
) -> tuple[Matched, Mapping[str, tuple[int, ...]]]:
    """`match`, and for each source's name the ids of the images that it may be among the
    proposals.

    Images that were never exported, and tasks that nobody has answered, are noted and left out.
    Raises UsageError if none is left.
    """
    matched = match(annotations, listing)
    exported: dict[str, tuple[int, ...]] = {}
    notes = list(matched.notes)
    for name, places in matched.indices.items():
        image_ids = tuple(
            dict.fromkeys(
                image_id
                for place in places
                for image_id in proposals.find(annotations.images[place])
            )
        )
        if not image_ids:
            reason = Loss.NOT_EXPORTED
        elif isinstance(annotations, LabelStudioSource) and not any(
            map(annotations.is_answered, places)
        ):
            reason = Loss.UNANSWERED
        else:
            exported[name] = image_ids
            continue
        notes.append(Note(reason, name, of_images=True))
        lost = sum(map(annotations.count, places))
        if lost:
            notes.append(Note(reason, f"annotations of {name}", lost))
    if not exported:
        example = next(iter(matched.indices), "")
        raise UsageError(
            f"none of the {len(matched.indices)} corrected images ({example!r} among them) was "
            "exported from the proposals, or none was answered: give the dataset that was exported "
            "with --proposals"
        )
    kept = [place for place, source in enumerate(matched.sources) if source.name in exported]
    sources = matched.sources.take(kept[:limit])
    indices = {source.name: matched.indices[source.name] for source in sources}
    return Matched(sources, indices, tuple(notes), matched.num_unlisted), exported


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


def _fingerprint(path: Path) -> str:
    """A digest that changes when the annotations do; of a folder, of its file names and sizes."""
    if path.is_file():
        with path.open("rb") as file:
            return sha256_of(file)
    digest = hashlib.sha256()
    for folder, inner, files in os.walk(path):
        inner.sort()
        for name in sorted(files):
            file_path = Path(folder) / name
            relative = file_path.relative_to(path).as_posix()
            size = file_path.stat().st_size if file_path.exists() else -1
            digest.update(f"{relative}\0{size}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _report(
    folder: Folder,
    manifest: Manifest,
    kind: Format,
    annotations: AnnotationSource,
    matched: Matched,
) -> dict[str, Any]:
    """What `import-report.json` says; the same for the same inputs, whoever made the shards."""
    images, repaired, dropped = Tally(), Tally(), Tally()
    for note in (*annotations.notes, *matched.notes):
        where = images if note.of_images else dropped if isinstance(note.reason, Loss) else repaired
        where.add(note)
    kept = failed = boxes = segmented = 0
    frames: dict[str, int] = {}
    for index in range(manifest.num_shards):
        with folder.open(parquet_name(index)) as file:
            columns = ["source", "status", "attributes", "annotations.list.element.area"]
            table = pq.ParquetFile(file).read(columns=columns)
        for row in table.to_pylist():
            if row["status"] != ImageStatus.OK:
                failed += 1
                images.add(Note(Loss.IMAGE_FAILED, row["source"], of_images=True))
                for place in matched.indices[row["source"]]:
                    lost = annotations.count(place)
                    if lost:
                        what = f"annotations of {row['source']}"
                        dropped.add(Note(Loss.IMAGE_FAILED, what, lost))
                continue
            kept += len(row["annotations"])
            said = json.loads(row["attributes"] or "{}").get("import", {})
            repaired.add_json(said.get("repaired", {}))
            dropped.add_json(said.get("dropped", {}))
            boxes += said.get("boxes", 0)
            segmented += said.get("boxes_segmented", 0)
            if "frame" in said:
                frames[said["frame"]] = frames.get(said["frame"], 0) + 1
    return {
        "format": kind.value,
        "images": {
            "listed": len(annotations.images),
            "imported": manifest.num_images - failed,
            "failed": failed,
            "pictures_without_annotations": matched.num_unlisted,
            "frames": frames,
            "notes": images.to_json(),
        },
        "masks": {
            "kept": kept,
            "repaired": repaired.to_json(),
            "dropped": dropped.to_json(),
        },
        "boxes": {"without_masks": boxes, "segmented": segmented},
        "categories": keepable(list(annotations.categories)),
    }


def read_report(folder: Folder) -> dict[str, Any] | None:
    """The content of a dataset's `import-report.json`; None if it has none that can be read."""
    try:
        content = json.loads(folder.read(REPORT_NAME))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None
