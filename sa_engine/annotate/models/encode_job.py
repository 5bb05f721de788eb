"""What the encoder's process is told, and says."""

from dataclasses import dataclass
from pathlib import Path

from sa_engine.annotate.models.frames import ModelFrame
from sa_engine.dataset.sources.listing import Source


@dataclass(frozen=True, slots=True)
class Job:
    """An embedding to be made. checkpoint: the model's file; target: where it goes."""

    source: Source
    max_pixels: int
    frame: ModelFrame
    checkpoint: Path
    device: str
    precision: str
    target: Path


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a job: nothing is wrong if `error` is None. cpu_s: CPU seconds it took."""

    error: str | None
    cpu_s: float
