"""Crops of an image: where they lie, and which boxes their edges cut.

Source: "Segment Anything", section 4 and appendix B ("Cropping"); sizes as in the public code.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

EDGE_TOLERANCE_PX = 20.0
"""A box this near to a crop's edge counts as cut by it."""


@dataclass(frozen=True, slots=True)
class Crop:
    """A rectangle of the image.

    layer: 0 is the whole image, i has 2^i by 2^i crops.
    x0, y0, x1, y1: pixels, x1 and y1 exclusive.
    """

    layer: int
    x0: int
    y0: int
    x1: int
    y1: int

    @property
    def size_hw(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.y1 - self.y0, self.x1 - self.x0

    @property
    def xywh(self) -> tuple[float, float, float, float]:
        """(left, top, width, height) in pixels."""
        return (self.x0, self.y0, self.x1 - self.x0, self.y1 - self.y0)


def crop_boxes(size_hw: tuple[int, int], *, layers: int, overlap_ratio: float) -> list[Crop]:
    """The whole image, then layer by layer its crops, column by column.

    overlap_ratio: overlap of the first layer's crops as a share of the shorter side; each layer
        halves it.
    """
    height, width = size_hw
    crops = [Crop(0, 0, 0, width, height)]
    for layer in range(1, layers + 1):
        per_side = 2**layer
        overlap = int(overlap_ratio * min(size_hw) * (2 / per_side))
        crop_w = math.ceil((overlap * (per_side - 1) + width) / per_side)
        crop_h = math.ceil((overlap * (per_side - 1) + height) / per_side)
        for column in range(per_side):
            for row in range(per_side):
                x0, y0 = (crop_w - overlap) * column, (crop_h - overlap) * row
                if x0 < width and y0 < height:
                    x1, y1 = min(x0 + crop_w, width), min(y0 + crop_h, height)
                    crops.append(Crop(layer, x0, y0, x1, y1))
    return crops


def is_cut(
    boxes_xyxy: NDArray[np.int64], crop: Crop, *, image_size_hw: tuple[int, int]
) -> NDArray[np.bool_]:
    """Which boxes come near an edge of the crop that is not near the same edge of the image.

    boxes_xyxy: (N, 4) in pixels of the whole image, with the last pixel included (as the public
        code measures it, so that limits agree to the pixel).
    """
    height, width = image_size_hw
    crop_edges = np.array([crop.x0, crop.y0, crop.x1, crop.y1])
    image_edges = np.array([0, 0, width, height])
    near_crop = np.abs(boxes_xyxy - crop_edges) <= EDGE_TOLERANCE_PX
    near_image = np.abs(boxes_xyxy - image_edges) <= EDGE_TOLERANCE_PX
    cut: NDArray[np.bool_] = (near_crop & ~near_image).any(axis=1)
    return cut
