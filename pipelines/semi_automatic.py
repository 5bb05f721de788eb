"""Stage 2: a detector's boxes prompt the model; what it is sure of is proposed to annotators.

Source: "Segment Anything", section 4, "Semi-automatic stage".
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sa_engine.pipelines.local import Progress, RunSummary, Workers
from sa_engine.pipelines.work import Reading


@dataclass(frozen=True, slots=True, kw_only=True)
class SemiAutomaticRun:
    """What `run_semi_automatic` is told.

    images: a folder, a file, a glob, a text list or a tar; see `list_sources`.
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

    images: str
    out: Path
    detector: Path | None = None
    existing: Path | None = None
    model: str | None = None
    checkpoint: Path | None = None
    proposal_options: Mapping[str, Any] = field(default_factory=dict)
    device: str = "auto"
    precision: str = "auto"
    limit: int | None = None
    images_per_shard: int = 1000
    reading: Reading = field(default_factory=Reading)
    workers: Workers = field(default_factory=Workers)


def run_semi_automatic(run: SemiAutomaticRun, *, progress: Progress | None = None) -> RunSummary:
    """Propose masks for all images of a run, or go on where an earlier one stopped.

    Raises UsageError for options or paths that cannot work, CheckpointError for a file that is no
    model or no detector of that model's encoder, InterruptedRun when stopped by a signal.
    """
    raise NotImplementedError
