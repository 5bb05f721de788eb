"""Retraining the box detector: datasets and a frozen image encoder in, a detector file out.

Source: "Segment Anything", section 4, "Semi-automatic stage": a detector of one category, "object",
is trained on the masks of stage 1.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sa_engine.detection.card import DetectorCard
from sa_engine.training.detector_report import DetectorReport


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorOptions:
    """What `sa-engine train detector` was told.

    data: datasets, at least one. weights: by set or stage, as in `TrainOptions`. out: the file.
    model: the name of a model that comes with the engine, whose image encoder the detector stands
        on; not together with `checkpoint`, a weights file. With neither, the engine's own.
    changes: options by part ("train", "net", "optim", "jitter") and name; those not named keep
        their defaults.
    device: "auto", "cpu", "cuda" or "mps". data_workers: processes that prepare samples.
    """

    data: Sequence[Path]
    out: Path
    model: str | None = None
    checkpoint: Path | None = None
    weights: Mapping[str, float] = field(default_factory=dict)
    changes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    name: str = ""
    device: str = "auto"
    data_workers: int = 0
    tensorboard: bool = False


def retrain_detector(
    options: DetectorOptions, *, report: Callable[[DetectorReport], None] = lambda _: None
) -> DetectorCard:
    """Train a detector, or go on where an earlier run stopped, and write its file with its card.

    Raises UsageError for options or data that cannot work, TrainingError if training cannot go on.
    """
    raise NotImplementedError
