"""What two runs over the same images found."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sa_engine.automask.config import GeneratorConfig
from sa_engine.automask.parity import Parity, ParitySummary, summarise
from sa_engine.dataset.records import MaskRecord


@dataclass(frozen=True, slots=True)
class ImageComparison:
    """Two runs over one image: the masks of each, how they agree, and how long each took."""

    source: str
    first: Sequence[MaskRecord]
    second: Sequence[MaskRecord]
    parity: Parity
    seconds_first: float
    seconds_second: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """A whole comparison.

    first, second: what each run was: model, device, precision.
    failures: (image, "reason: message") of images that could not be read.
    """

    first: Mapping[str, str]
    second: Mapping[str, str]
    generator: GeneratorConfig
    match_iou: float
    images: tuple[ImageComparison, ...]
    failures: tuple[tuple[str, str], ...]

    @property
    def summary(self) -> ParitySummary:
        """All images together."""
        return summarise([image.parity for image in self.images])
