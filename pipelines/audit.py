"""An audit: images drawn from a dataset, their masks corrected in any tool, the pairs compared."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from sa_engine.dataset.combine import Progress, subset
from sa_engine.dataset.manifest import is_dataset
from sa_engine.dataset.reader import Dataset
from sa_engine.dataset.records import MASK_IDS_PER_IMAGE, ImageRecord, ImageStatus, MaskRecord
from sa_engine.errors import DamagedError, UsageError
from sa_engine.evaluation.audit import AuditedMask
from sa_engine.evaluation.instances import boundary_iou
from sa_engine.masks.rle import iou_matrix
from sa_engine.pipelines.export import ExportRun, OutFormat, run_export
from sa_engine.pipelines.run.worker import Reading
from sa_engine.pipelines.stages.manual import ImportRun, run_import

SAMPLE_NAME, TO_CORRECT_NAME, ABOUT_NAME = "sample", "to-correct", "audit.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditDraw:
    """What `draw_audit` is told.

    dataset: complete or not. out: a folder that is not there yet, or the same call's.
    images: how many are drawn, of those that went through and have masks. seed: of the draw.
    format: what the masks are exported for.
    """

    dataset: Path | str
    out: Path
    images: int = 500
    seed: int = 0
    format: OutFormat = OutFormat.COCO


@dataclass(frozen=True, slots=True)
class AuditDrawn:
    """What was drawn: images and masks, of how many images, and where they are to be corrected."""

    images: int
    masks: int
    total_images: int
    to_correct: Path


@dataclass(frozen=True, slots=True)
class AuditRead:
    """What came back.

    masks: every mask of the images that came back. images, not_returned: of the sample.
    missed: masks that people added.
    """

    masks: tuple[AuditedMask, ...]
    images: int
    not_returned: int
    missed: int


def draw_audit(run: AuditDraw, *, progress: Progress | None = None) -> AuditDrawn:
    """Draw images at random, put them into a dataset of their own, and export it for correction.

    Raises UsageError for a dataset without masks, or an `out` that holds something else.
    """
    dataset = Dataset(run.dataset, allow_incomplete=True)
    positions = _positions(dataset)
    if not positions:
        raise UsageError(f"{run.dataset} holds no image with masks: there is nothing to audit")
    rng = np.random.default_rng(run.seed)
    chosen = sorted(rng.permutation(positions)[: run.images].tolist())
    about = {
        "dataset": str(run.dataset),
        "digest": dataset.digest(),
        "seed": run.seed,
        "images": len(chosen),
        "of_images": len(positions),
        "format": run.format.value,
    }
    _begin(run.out, about)
    sample = run.out / SAMPLE_NAME
    subset(
        run.dataset,
        sample,
        chosen,
        options={"audit_seed": run.seed, "audit_images": len(chosen)},
        progress=progress,
    )
    to_correct = run.out / TO_CORRECT_NAME
    summary = run_export(ExportRun(dataset=sample, out=to_correct, format=run.format))
    return AuditDrawn(summary.num_images, summary.num_masks, len(positions), to_correct)


def read_audit(corrected: Path, audit: Path) -> AuditRead:
    """Hold corrected annotations against the masks of an audit's sample.

    corrected: annotations in any format that can be imported, or the dataset that
        `annotate --audit` made of the sample.
    A mask is found by the id that it was exported with, or by IoU (0.5) where a tool dropped it.
    Raises UsageError if `audit` is no audit's folder, or nothing of it came back.
    """
    sample = Dataset(_sample_of(audit))
    found = compare(_returned(corrected, audit), sample)
    if not found.masks:
        raise UsageError(
            f"{corrected} has no image of the audit in {audit}: give the file that was made from "
            f"{audit / TO_CORRECT_NAME}"
        )
    return found


def compare(returned: Sequence[ImageRecord], sample: Dataset) -> AuditRead:
    """Every mask of the sample's images that came back, held against its correction.

    returned: images with the attribute "proposals", as `with_verdicts` finds them.
    """
    by_content = {record.sha256: record for record in sample.images(status=ImageStatus.OK)}
    masks: list[AuditedMask] = []
    missed = 0
    for record in returned:
        before = by_content.get(record.sha256) or _by_masks(sample, record)
        if before is not None:
            masks += _compared(before, record)
            missed += int(record.attributes["proposals"].get("added", 0))
    images = len({mask.image_id for mask in masks})
    return AuditRead(tuple(masks), images, len(by_content) - images, missed)


def _returned(corrected: Path, audit: Path) -> list[ImageRecord]:
    """The corrected images, each with what became of its masks."""
    if is_dataset(corrected):
        return with_verdicts(Dataset(corrected))
    with TemporaryDirectory(dir=audit, prefix=".read-") as scratch:
        run = ImportRun(
            annotations=corrected,
            images=str(audit / TO_CORRECT_NAME),
            proposals=audit / SAMPLE_NAME,
            out=Path(scratch) / "data",
            reading=Reading(keep_images=False),
        )
        run_import(run)
        return with_verdicts(Dataset(run.out))


def with_verdicts(dataset: Dataset) -> list[ImageRecord]:
    """The images of which it is known what became of the masks that went out."""
    records = dataset.images(status=ImageStatus.OK)
    return [record for record in records if "proposals" in record.attributes]


def _positions(dataset: Dataset) -> list[int]:
    """Positions of the images that went through and have masks."""
    return [
        position
        for position, record in enumerate(dataset.images())
        if record.status is ImageStatus.OK and record.annotations
    ]


def _begin(out: Path, about: Mapping[str, object]) -> None:
    """Make the audit's folder, or find it as this audit began it."""
    text = json.dumps(about, indent=1, sort_keys=True) + "\n"
    path = out / ABOUT_NAME
    if path.is_file():
        if path.read_text("utf-8") != text:
            raise UsageError(f"{out} holds another audit: choose a new folder for --out")
        return
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} is there already: choose a new or empty folder for --out")
    try:
        out.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write to {out}: {error.strerror}; choose another --out") from None


def _sample_of(audit: Path) -> Path:
    if not (audit / ABOUT_NAME).is_file():
        raise UsageError(f"{audit} is no audit: give the folder that `audit draw --out` made")
    return audit / SAMPLE_NAME


def _by_masks(sample: Dataset, record: ImageRecord) -> ImageRecord | None:
    """The sample's image whose masks the corrections name, where the picture's bytes differ."""
    said = record.attributes["proposals"]
    ids = [*said.get("kept", ()), *said.get("deleted", ())]
    ids += [edit["id"] for edit in said.get("edited", ())]
    if not ids:
        return None
    image_id = ids[0] // MASK_IDS_PER_IMAGE
    try:
        return sample.record(image_id)
    except (UsageError, DamagedError):
        return None


def _compared(before: ImageRecord, after: ImageRecord) -> Iterator[AuditedMask]:
    corrections: dict[int, MaskRecord] = {}
    for mask in after.annotations:
        said = mask.attributes.get("proposal")
        if isinstance(said, Mapping) and isinstance(said.get("id"), int):
            corrections[said["id"]] = mask
    for position, mask in enumerate(before.annotations):
        number = before.mask_id(position)
        correction = corrections.get(number)
        iou = near = None
        if correction is not None:
            iou = float(iou_matrix([mask.segmentation], [correction.segmentation])[0, 0])
            near = boundary_iou(mask.segmentation, correction.segmentation)
        yield AuditedMask(
            image_id=before.image_id,
            mask_id=number,
            source=before.source,
            stage=mask.stage.value,
            area=mask.area,
            predicted_iou=mask.predicted_iou,
            iou=iou,
            boundary_iou=near,
            seconds=None if correction is None else correction.time_spent_s,
        )
