"""Repair of a dataset by what its manifest says of the stage that made it."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from sa_engine.dataset.folder.base import open_folder
from sa_engine.dataset.manifest import read_manifest
from sa_engine.dataset.records import Stage
from sa_engine.dataset.shards.writer import clear_scratch
from sa_engine.errors import UsageError
from sa_engine.pipelines.run.one_image import Annotator
from sa_engine.pipelines.run.repair import Repair, reading_of, repair_shards

_BY_ITS_COMMAND = (
    "its images must be made again, for which the dataset alone does not say enough: give the "
    "command that made it once more, with --repair"
)
_BY_COMBINING = (
    "its images came from other datasets, and nothing here says from where: remove its "
    "_stats.json and give the `sa-engine {verb}` that made it once more"
)


def repair_dataset(
    path: str | os.PathLike[str],
    damaged: Sequence[int],
    *,
    checkpoint: Path | None = None,
    device: str = "auto",
    stop: Callable[[], bool],
    progress: Callable[[int, int], None] | None = None,
) -> list[Repair]:
    """`repair_shards` by what the dataset itself says of how it was made.

    checkpoint: the model that made its masks; None to look among those that come with the engine.

    Shards that only their stage can make again are repaired for the fully automatic stage; others
    need what the dataset does not hold (annotations, say).
    """
    folder = open_folder(path)
    manifest = read_manifest(folder)

    def annotator() -> Annotator:
        options = manifest.options
        for verb in ("merge", "split"):
            if verb in options:
                raise UsageError(_BY_COMBINING.format(verb=verb))
        if manifest.stage is not Stage.AUTOMATIC or "points-per-side" not in options:
            raise UsageError(_BY_ITS_COMMAND)
        # Not at the top: it imports torch, which most repairs do without.
        from sa_engine.pipelines.stages.automatic import annotator_of

        return annotator_of(manifest, checkpoint=checkpoint, device=device)

    done = repair_shards(
        folder,
        manifest,
        damaged,
        annotator=annotator,
        reading=reading_of(manifest),
        stop=stop,
        progress=progress,
    )
    clear_scratch(path, manifest)
    return done
