"""A worker's share of a dataset that was begun, by what the dataset itself says.

The unit of work of every scheduler: no list of images is made, no option has to be said again.
"""

from dataclasses import dataclass, field
from pathlib import Path

from sa_engine.dataset.folder.base import open_folder
from sa_engine.dataset.manifest import Manifest, read_manifest
from sa_engine.dataset.records import Stage
from sa_engine.dataset.shards.writer import pending_shards
from sa_engine.errors import UsageError
from sa_engine.pipelines.run.one_image import Annotator
from sa_engine.pipelines.run.repair import reading_of
from sa_engine.pipelines.run.start import Execute, run_workers
from sa_engine.pipelines.run.watch import Progress, RunSummary, Watch
from sa_engine.pipelines.run.workers import Workers


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkRun:
    """What `run_work` is told.

    out: a dataset that `auto` or `semi` has begun, or prepared.
    checkpoint: the model's file; None to look among those that come with the engine.
    detector: the detector's file, the same.
    existing: of `semi`, the dataset that it was given as --existing.
    """

    out: Path | str
    checkpoint: Path | None = None
    detector: Path | None = None
    existing: Path | str | None = None
    device: str = "auto"
    workers: Workers = field(default_factory=Workers)


def run_work(
    run: WorkRun, *, progress: Progress | None = None, execute: Execute = run_workers
) -> RunSummary:
    """Help to make a dataset, until nothing of it is left to do.

    execute: who does it; by default processes on this machine.

    Where nothing is left, neither torch nor a model is loaded. Raises UsageError if the dataset is
    none that `auto` or `semi` makes, or its model or detector are not to be found; InterruptedRun
    when stopped by a signal.
    """
    folder = open_folder(run.out)
    manifest = read_manifest(folder)
    workers = run.workers
    is_idle = not (workers.retry_failed or workers.repair)
    if is_idle and not any(i in workers.part for i in pending_shards(folder.url, manifest)):
        return Watch(folder, workers, progress).summary()
    return execute(
        folder,
        _annotator(run, manifest),
        reading=reading_of(manifest),
        workers=workers,
        progress=progress,
    )


def _annotator(run: WorkRun, manifest: Manifest) -> Annotator:
    # Here, so that torch is loaded only where there is something to do.
    if manifest.stage is Stage.AUTOMATIC and "points-per-side" in manifest.options:
        from sa_engine.pipelines.stages.automatic import annotator_of

        return annotator_of(manifest, checkpoint=run.checkpoint, device=run.device)
    if manifest.stage is Stage.SEMI_AUTOMATIC and "box-score-thresh" in manifest.options:
        from sa_engine.pipelines.stages.semi_automatic import proposals_of

        return proposals_of(
            manifest,
            checkpoint=run.checkpoint,
            detector=run.detector,
            existing=run.existing,
            device=run.device,
        )
    raise UsageError(
        f"{run.out} was not begun by `sa-engine auto` or `semi`: give the command that began it"
    )
