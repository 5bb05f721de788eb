"""Who is evaluated: anything that turns clicks on an image into masks."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sa_engine.evaluation.clicks import Click

BoxXyxy = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Answer:
    """Candidate masks of one prompt.

    masks_MHW: bool, at the image's size. scores_M: the segmenter's own estimate of each mask's
    IoU, or of their order. chosen: which mask it would give.
    """

    masks_MHW: NDArray[np.bool_]
    scores_M: NDArray[np.float32]
    chosen: int


class Segmenter(Protocol):
    """Answers the clicks of one object at a time."""

    @property
    def name(self) -> str:
        """How it is called in tables."""

    @property
    def takes_boxes(self) -> bool:
        """Whether a box can be a prompt."""

    def set_image(self, rgb_HW3: NDArray[np.uint8]) -> None:
        """Look at an image; the answers that follow are about it."""

    def start_object(self) -> None:
        """Forget the clicks of the object before."""

    def answer(self, clicks: Sequence[Click], box_xyxy: BoxXyxy | None = None) -> Answer:
        """Masks for all clicks so far, the newest last, and a box if there is one."""
