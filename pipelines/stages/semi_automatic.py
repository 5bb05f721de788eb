"""Stage 2: a detector's boxes prompt the model; what it is sure of is proposed to annotators.

Source: "Segment Anything", section 4, "Semi-automatic stage".
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch

from sa_engine.automask.proposal_config import ProposalConfig, resolve_proposals
from sa_engine.automask.proposer import Proposer
from sa_engine.dataset.folder.base import open_folder
from sa_engine.dataset.images.reading import StoredImage
from sa_engine.dataset.manifest import Manifest, ModelRef, open_output
from sa_engine.dataset.reader import Dataset
from sa_engine.dataset.records import MaskRecord, Stage
from sa_engine.dataset.sources.listing import Source, list_sources
from sa_engine.detection.file import detector_standing_on, load_detector, read_detector_card
from sa_engine.errors import UsageError
from sa_engine.model.checkpoint import load_checkpoint, read_card
from sa_engine.model.device import DTYPES, choose_device
from sa_engine.model.weights import DEFAULT_MODEL, DETECTOR_ENDING, WEIGHTS_DIR, bundled_model
from sa_engine.pipelines.run.start import Execute, run_workers
from sa_engine.pipelines.run.watch import Progress, RunSummary
from sa_engine.pipelines.run.worker import Annotate, Reading
from sa_engine.pipelines.run.workers import Workers
from sa_engine.pipelines.stages.existing_masks import ExistingMasks
from sa_engine.pipelines.stages.made_by import checked_model, file_digest, precision_of_run


@dataclass(frozen=True, slots=True, kw_only=True)
class SemiAutomaticRun:
    """What `run_semi_automatic` is told.

    images: a folder, a file, a glob, a text list or a tar, or several files and folders; see
        `list_sources`.
    out: the dataset's folder, new or to be continued; it holds the proposals alone.
    detector: a file that `retrain_detector` wrote; None for the one that comes with the model.
    existing: a dataset of masks that are there already (those of people, say); what repeats one of
        them is not proposed. Images are matched by content, then by name.
    model: the name of a model that comes with the engine; not together with `checkpoint`.
    checkpoint: a weights file.
    proposal_options: parameters of `automask.proposal_config.ProposalConfig` that the user gave,
        and only those; they go over what the cards of model and detector recommend.
    device, precision: "auto" takes the best that the machine has.
    limit: only the first so many images of the sorted list, from 1; None for all.
    images_per_shard: from 1.
    """

    images: str | Sequence[str]
    out: Path | str
    detector: Path | None = None
    existing: Path | str | None = None
    model: str | None = None
    checkpoint: Path | None = None
    proposal_options: Mapping[str, Any] = field(default_factory=dict)
    device: str = "auto"
    precision: str = "auto"
    limit: int | None = None
    images_per_shard: int = 1000
    reading: Reading = field(default_factory=Reading)
    workers: Workers = field(default_factory=Workers)


@dataclass(frozen=True, slots=True, kw_only=True)
class SemiAutomaticAnnotator:
    """How a worker makes proposals; plain values, so that it can be sent to another process."""

    checkpoint: Path
    detector: Path
    existing: Path | str | None
    proposals: ProposalConfig
    device: str
    precision: str
    provenance: Mapping[str, str]

    def open(self, worker: int) -> Annotate:
        """Load model and detector and return the function from an image to its proposals."""
        device = choose_device(self.device)
        if device.type == "cuda" and device.index is None:
            # With several GPUs each worker takes the next one.
            device = torch.device("cuda", worker % torch.cuda.device_count())
        sam = load_checkpoint(self.checkpoint)
        proposer = Proposer(
            sam,
            load_detector(self.detector, sam),
            self.proposals,
            device=device,
            precision=DTYPES[self.precision],
            provenance=self.provenance,
        )
        existing = None if self.existing is None else ExistingMasks(Dataset(self.existing))

        def annotate(source: Source, image: StoredImage) -> Sequence[MaskRecord]:
            there = [] if existing is None else existing.of(source, image)
            return proposer.propose(image.rgb_HW3, there)

        return annotate


def run_semi_automatic(
    run: SemiAutomaticRun, *, progress: Progress | None = None, execute: Execute = run_workers
) -> RunSummary:
    """Propose masks for all images of a run, or go on where an earlier one stopped.

    execute: who does it; by default processes on this machine.

    Raises as `prepare_semi_automatic`, and InterruptedRun when stopped by a signal.
    """
    annotator = prepare_semi_automatic(run)
    return execute(
        open_folder(run.out), annotator, reading=run.reading, workers=run.workers, progress=progress
    )


def prepare_semi_automatic(run: SemiAutomaticRun) -> SemiAutomaticAnnotator:
    """Freeze a run's list of images and its options at its output, or check that they fit it.

    Raises UsageError for options or paths that cannot work, CheckpointError for a file that is no
    model or no detector of that model's encoder.
    """
    checkpoint, detector = _files(run)
    card, found_by = read_card(checkpoint), read_detector_card(detector)
    proposals = resolve_proposals(
        recommended={"box_score_thresh": found_by.box_score_thresh, **card.least_quality()},
        options=run.proposal_options,
    )
    existing = None if run.existing is None else Dataset(run.existing).digest()
    precision = precision_of_run(run.precision, choose_device(run.device), run.out)
    sources = list_sources(run.images)
    if run.limit is not None:
        sources = sources[: run.limit]
    model_sha256, detector_sha256 = file_digest(checkpoint), file_digest(detector)
    manifest = Manifest(
        stage=Stage.SEMI_AUTOMATIC,
        model=ModelRef(name=card.name, sha256=model_sha256),
        options={
            **{f.name.replace("_", "-"): getattr(proposals, f.name) for f in fields(proposals)},
            "detector": detector_sha256,
            "existing": existing,
            "precision": precision,
            "limit": run.limit,
            "shortest-side": run.reading.shortest_side,
            "max-pixels": run.reading.max_pixels,
            "no-images": not run.reading.keep_images,
        },
        num_images=len(sources),
        images_per_shard=run.images_per_shard,
    )
    open_output(run.out, manifest, sources)
    return SemiAutomaticAnnotator(
        checkpoint=checkpoint,
        detector=detector,
        existing=run.existing,
        proposals=proposals,
        device=run.device,
        precision=precision,
        provenance={
            "model": card.name,
            "model_sha256": model_sha256,
            "detector": found_by.name,
            "detector_sha256": detector_sha256,
        },
    )


def proposals_of(
    manifest: Manifest,
    *,
    checkpoint: Path | None,
    detector: Path | None,
    existing: Path | str | None,
    device: str,
) -> SemiAutomaticAnnotator:
    """What makes the proposals of a dataset, by its manifest alone.

    checkpoint, detector: the files of model and detector; None to look among those that come with
        the engine.
    existing: the dataset that the run was given as `existing`; None if there was none.

    Raises UsageError if the dataset was not made by `run_semi_automatic`, if a file is not to be
    found, or if it is another one.
    """
    names = {field.name.replace("_", "-"): field.name for field in fields(ProposalConfig)}
    options: Mapping[str, Any] = manifest.options
    chosen = {names[name]: value for name, value in options.items() if name in names}
    if manifest.stage is not Stage.SEMI_AUTOMATIC or manifest.model is None or len(chosen) < 2:
        raise UsageError("it was not made by `sa-engine semi`")
    checkpoint = checked_model(manifest.model, checkpoint)
    wanted = str(manifest.options["detector"])
    candidates = [detector] if detector else sorted(WEIGHTS_DIR.glob(f"*{DETECTOR_ENDING}"))
    found = next((path for path in candidates if file_digest(path) == wanted), None)
    if found is None:
        what = f"{detector} is another one" if detector else "it does not come with this engine"
        raise UsageError(
            f"the detector of these proposals is needed, and {what}: give its file with "
            f"--detector; its SHA-256 is {wanted}"
        )
    there = manifest.options["existing"]
    here = None if existing is None else Dataset(existing).digest()
    if here != there:
        what = "beside the masks of another dataset" if there else "without --existing"
        raise UsageError(f"these proposals are made {what}: give --existing as when it was begun")
    return SemiAutomaticAnnotator(
        checkpoint=checkpoint,
        detector=found,
        existing=existing,
        proposals=ProposalConfig(**chosen),
        device=device,
        precision=str(manifest.options["precision"]),
        provenance={
            "model": manifest.model.name,
            "model_sha256": manifest.model.sha256,
            "detector": read_detector_card(found).name,
            "detector_sha256": wanted,
        },
    )


def _files(run: SemiAutomaticRun) -> tuple[Path, Path]:
    """The weights and the detector that a run names, which fit each other.

    Raises UsageError if it cannot mean any, CheckpointError if they do not fit.
    """
    if run.model is not None and run.checkpoint is not None:
        raise UsageError("--model and --checkpoint exclude each other: give one of them")
    checkpoint = run.checkpoint or bundled_model(run.model or DEFAULT_MODEL)
    sam = load_checkpoint(checkpoint)
    detector = run.detector or detector_standing_on(sam)
    if detector is None:
        raise UsageError(
            f"no detector comes with {run.checkpoint or run.model or DEFAULT_MODEL}: "
            "give --detector FILE; `sa-engine train detector` makes one"
        )
    # Before anything is written: does the detector belong to this model?
    load_detector(detector, sam)
    return checkpoint, detector
