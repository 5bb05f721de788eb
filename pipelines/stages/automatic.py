"""Stage 3: masks for photographs without people (paper, section 4, "Fully automatic stage")."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch

from sa_engine.automask.config import GeneratorConfig, resolve
from sa_engine.automask.generator import MaskGenerator
from sa_engine.dataset.folder.base import open_folder
from sa_engine.dataset.images.reading import StoredImage
from sa_engine.dataset.manifest import Manifest, ModelRef, Option, open_output
from sa_engine.dataset.records import MaskRecord, Stage
from sa_engine.dataset.sources.listing import Source, list_sources
from sa_engine.errors import UsageError
from sa_engine.masks.nms import Overlap
from sa_engine.masks.regions import SmallMasks
from sa_engine.model.checkpoint import load_checkpoint, read_card
from sa_engine.model.device import choose_device
from sa_engine.model.sizes import check_image_size
from sa_engine.model.weights import DEFAULT_MODEL, bundled_model
from sa_engine.pipelines.run.half_batches import generate_within_memory
from sa_engine.pipelines.run.start import Execute, run_workers
from sa_engine.pipelines.run.watch import Progress, RunSummary
from sa_engine.pipelines.run.worker import Annotate, Reading
from sa_engine.pipelines.run.workers import Workers
from sa_engine.pipelines.stages.made_by import checked_model, file_digest, precision_of_run

SPEED_ONLY = frozenset({"points_per_batch", "crops_per_batch"})
"""Parameters of the generator that change no mask."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AutomaticRun:
    """What `run_automatic` is told.

    images: a folder, a file, a glob, a text list or a tar, or several files and folders; see
        `list_sources`.
    out: the dataset's folder or URL, new or to be continued.
    model: the name of a model that comes with the engine; not together with `checkpoint`.
    checkpoint: a weights file.
    preset: a name in `automask.config.PRESETS`.
    generator_options: the generator's parameters that the user gave, and only those; they go over
        the preset, and that over what the model's card recommends.
    image_size: side of the model's square input, pixels; None for the weights' own.
    device, precision: "auto" takes the best that the machine has.
    limit: only the first so many images of the sorted list, from 1; None for all.
    images_per_shard: from 1.
    """

    images: str | Sequence[str]
    out: Path | str
    model: str | None = None
    checkpoint: Path | None = None
    preset: str = "default"
    generator_options: Mapping[str, Any] = field(default_factory=dict)
    image_size: int | None = None
    device: str = "auto"
    precision: str = "auto"
    limit: int | None = None
    images_per_shard: int = 1000
    reading: Reading = field(default_factory=Reading)
    workers: Workers = field(default_factory=Workers)


@dataclass(frozen=True, slots=True, kw_only=True)
class AutomaticAnnotator:
    """How a worker makes masks; plain values, so that it can be sent to another process."""

    checkpoint: Path
    generator: GeneratorConfig
    device: str
    precision: str
    image_size: int | None = None

    def open(self, worker: int) -> Annotate:
        """Load the model and return the function from an image to its masks."""
        device = _device_of(worker, choose_device(self.device))
        sam = load_checkpoint(self.checkpoint, device, image_size=self.image_size)
        generator = MaskGenerator(sam, self.generator, device=device, precision=self.precision)

        def annotate(_source: Source, image: StoredImage) -> Sequence[MaskRecord]:
            return generate_within_memory(generator, image.rgb_HW3)

        return annotate


def run_automatic(
    run: AutomaticRun, *, progress: Progress | None = None, execute: Execute = run_workers
) -> RunSummary:
    """Make masks for all images of a run, or go on where an earlier one stopped.

    execute: who does it; by default processes on this machine.

    Raises as `prepare_automatic`, and InterruptedRun when stopped by a signal.
    """
    annotator = prepare_automatic(run)
    return execute(
        open_folder(run.out), annotator, reading=run.reading, workers=run.workers, progress=progress
    )


def prepare_automatic(run: AutomaticRun) -> AutomaticAnnotator:
    """Freeze a run's list of images and its options at its output, or check that they fit it.

    Raises UsageError for options or paths that cannot work, CheckpointError for a file that is no
    model.
    """
    if run.model is not None and run.checkpoint is not None:
        raise UsageError("--model and --checkpoint exclude each other: give one of them")
    checkpoint = run.checkpoint or bundled_model(run.model or DEFAULT_MODEL)
    card = read_card(checkpoint)
    generator = resolve(
        preset=run.preset,
        recommended=card.recommended(),
        options=run.generator_options,
    )
    if run.image_size is not None:
        check_image_size(card.variant, run.image_size)
    precision = precision_of_run(run.precision, choose_device(run.device), run.out)
    sources = list_sources(run.images)
    if run.limit is not None:
        sources = sources[: run.limit]
    manifest = Manifest(
        stage=Stage.AUTOMATIC,
        model=ModelRef(name=card.name, sha256=file_digest(checkpoint)),
        options=_manifest_options(run, generator, precision),
        num_images=len(sources),
        images_per_shard=run.images_per_shard,
    )
    open_output(run.out, manifest, sources)
    return AutomaticAnnotator(
        checkpoint=checkpoint,
        generator=generator,
        device=run.device,
        precision=precision,
        image_size=run.image_size,
    )


def annotator_of(manifest: Manifest, *, checkpoint: Path | None, device: str) -> AutomaticAnnotator:
    """What makes the masks of a dataset, by its manifest alone.

    checkpoint: the model's file; None to look among those that come with the engine.

    Raises UsageError if the dataset was not made by `run_automatic`, if its model is not to be
    found, or if the file is another one.
    """
    names = {field.name.replace("_", "-"): field.name for field in fields(GeneratorConfig)}
    chosen = {names[name]: value for name, value in manifest.options.items() if name in names}
    wanted = {name for name in names.values() if name not in SPEED_ONLY}
    if manifest.stage is not Stage.AUTOMATIC or manifest.model is None or chosen.keys() != wanted:
        raise UsageError("it was not made by `sa-engine auto`")
    size = manifest.options.get("image-size")
    path = checked_model(manifest.model, checkpoint)
    return AutomaticAnnotator(
        checkpoint=path,
        generator=_config_of(chosen),
        device=device,
        precision=str(manifest.options["precision"]),
        image_size=None if size is None else int(str(size)),
    )


def _config_of(options: Mapping[str, Any]) -> GeneratorConfig:
    """The configuration whose fields a manifest holds as JSON has them."""
    grids = options["point_grids"]
    if grids is not None:
        grids = tuple(tuple((x, y) for x, y in grid) for grid in grids)
    return GeneratorConfig(
        **{
            **options,
            "point_grids": grids,
            "small_masks": SmallMasks(options["small_masks"]),
            "mask_nms_overlap": Overlap(options["mask_nms_overlap"]),
        }
    )


def _device_of(worker: int, device: torch.device) -> str:
    """With several GPUs and no number asked for, each worker takes the next one."""
    if device.type == "cuda" and device.index is None:
        return f"cuda:{worker % torch.cuda.device_count()}"
    return str(device)


def _manifest_options(
    run: AutomaticRun, generator: GeneratorConfig, precision: str
) -> dict[str, Option]:
    """Every option that changes the result, as the command line names it."""
    options: dict[str, Option] = {
        field.name.replace("_", "-"): getattr(generator, field.name)
        for field in fields(generator)
        if field.name not in SPEED_ONLY
    }
    if run.image_size is not None:
        options["image-size"] = run.image_size
    return {
        **options,
        "precision": precision,
        "limit": run.limit,
        "shortest-side": run.reading.shortest_side,
        "max-pixels": run.reading.max_pixels,
        "no-images": not run.reading.keep_images,
    }
