"""A prompt as the page sends it."""

from collections.abc import Sequence
from dataclasses import dataclass

from sa_engine.masks.rle import Rle


@dataclass(frozen=True, slots=True, kw_only=True)
class Clicks:
    """A prompt, in pixels of the image.

    points_xy, labels: 1 object, 0 background. box_xyxy: two corners.
    previous, candidate: an earlier answer, whose logits are the mask prompt in the same frame.
    base: the mask that clicks change.
    preview: nobody has clicked: answered only while nothing else is, and not remembered.
    """

    points_xy: Sequence[tuple[float, float]]
    labels: Sequence[int]
    box_xyxy: tuple[float, float, float, float] | None = None
    previous: str | None = None
    candidate: int = 0
    base: Rle | None = None
    multimask: bool = False
    preview: bool = False

    def all_xy(self) -> list[tuple[float, float]]:
        """Every point that a frame must hold."""
        x = self.box_xyxy
        corners = [] if x is None else [(x[0], x[1]), (x[2], x[3])]
        return [*self.points_xy, *corners]
