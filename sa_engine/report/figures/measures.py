"""What is measured of every mask and every image, and in which bins it is counted.

Source: "Segment Anything", section 5: masks an image, mask size relative to the image, concavity.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

FINE = 10
"""Fine bins of a bin that is drawn: quantiles are known to a tenth of it."""


class Scale(StrEnum):
    """How the bins of a measure follow each other."""

    LINEAR = "linear"
    LOGARITHMIC = "logarithmic"
    WHOLE = "whole"
    """Whole numbers, a bin for each; the last one is open."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """A number that a mask or an image has.

    name: its key in files. title: what it is called on the page. unit: of its values, "" for none.
    low, high: ends of the bins; what lies beyond counts in the first or the last one.
    bins: how many are drawn; for whole numbers there is one for each number.
    text: what it is, in a sentence.
    """

    name: str
    title: str
    text: str
    low: float
    high: float
    unit: str = ""
    bins: int = 40
    scale: Scale = Scale.LINEAR

    def edges(self) -> NDArray[np.float64]:
        """Edges of the bins that are counted, rising."""
        if self.scale is Scale.WHOLE:
            return np.arange(self.low - 0.5, self.high + 1.5)
        if self.scale is Scale.LOGARITHMIC:
            return np.geomspace(self.low, self.high, self.bins * FINE + 1)
        return np.linspace(self.low, self.high, self.bins * FINE + 1)


MASK_MEASURES = (
    Measure(
        name="relative_size",
        title="Relative mask size",
        text="Square root of mask area over image area.",
        low=0,
        high=1,
    ),
    Measure(
        name="area",
        title="Mask area",
        text="Foreground pixels.",
        unit="px",
        low=1,
        high=1e8,
        scale=Scale.LOGARITHMIC,
    ),
    Measure(
        name="concavity",
        title="Concavity",
        text="1 minus mask area over the area of its convex hull.",
        low=0,
        high=1,
    ),
    Measure(
        name="aspect",
        title="Aspect",
        text="Width over height of the mask's box.",
        low=1 / 32,
        high=32,
        scale=Scale.LOGARITHMIC,
    ),
    Measure(
        name="boundary_px",
        title="Boundary length",
        text="Pixels of the mask with a side on the outside or on the image's edge.",
        unit="px",
        low=1,
        high=1e5,
        scale=Scale.LOGARITHMIC,
    ),
    Measure(
        name="components",
        title="Components",
        text="Separate pieces, 8-connected.",
        low=1,
        high=60,
        scale=Scale.WHOLE,
    ),
    Measure(
        name="holes",
        title="Holes",
        text="Pieces of background that the mask encloses, 4-connected.",
        low=0,
        high=60,
        scale=Scale.WHOLE,
    ),
    Measure(
        name="largest_iou",
        title="Overlap with another mask",
        text="Largest IoU with another mask of the image; 0.9 and more: nearly a duplicate.",
        low=0,
        high=1,
    ),
    Measure(
        name="inside",
        title="Nesting",
        text="Largest share of the mask that lies in one larger mask; 0.9 and more: a part of it.",
        low=0,
        high=1,
    ),
    Measure(
        name="predicted_iou",
        title="Predicted IoU",
        text="What the model expects.",
        low=0,
        high=1,
    ),
    Measure(
        name="stability_score",
        title="Stability",
        text="IoU of the mask between two thresholds.",
        low=0,
        high=1,
    ),
    Measure(
        name="box_score",
        title="Box score",
        text="The detector's confidence in the box.",
        low=0,
        high=1,
    ),
    Measure(
        name="seconds",
        title="Seconds a mask",
        text="What the mask took a person.",
        unit="s",
        low=0.1,
        high=3600,
        scale=Scale.LOGARITHMIC,
    ),
    Measure(
        name="clicks",
        title="Clicks a mask",
        text="Foreground and background clicks of a person.",
        low=0,
        high=100,
        scale=Scale.WHOLE,
    ),
)
"""Scores, seconds and clicks are those that a mask has; the others every mask has."""

IMAGE_MEASURES = (
    Measure(
        name="masks",
        title="Masks an image",
        text="Of images that went through.",
        low=0,
        high=2000,
        scale=Scale.WHOLE,
    ),
    Measure(
        name="covered",
        title="Covered share",
        text="Share of the image's pixels that some mask has.",
        low=0,
        high=1,
    ),
    Measure(
        name="megapixels",
        title="Image size",
        text="Pixels of the stored image.",
        unit="megapixels",
        low=0.001,
        high=1000,
        scale=Scale.LOGARITHMIC,
    ),
)

BY_NAME = {measure.name: measure for measure in (*IMAGE_MEASURES, *MASK_MEASURES)}

SIZES = {"small": (0, 32**2), "medium": (32**2, 96**2), "large": (96**2, 2**62)}
"""COCO's size classes: mask area in pixels, from the first number to below the second."""
