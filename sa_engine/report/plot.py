"""An image with its masks as a picture, for notebooks."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sa_engine.dataset.images.given import AnyImage, rgb_of
from sa_engine.dataset.records import MaskRecord
from sa_engine.masks import rle
from sa_engine.masks.rle import Rle
from sa_engine.report.overlay import overlay, reduced


def plot(
    image: AnyImage,
    masks: Iterable[MaskRecord | NDArray[np.bool_]],
    *,
    opacity: float = 0.45,
    max_side: int = 1200,
) -> Image.Image:
    """Colour masks over an image; a notebook shows the picture that is returned.

    image: the path of an image file, a PIL image, or upright RGB (H, W, 3) uint8.
    masks: records, or (H, W) bool arrays of the image's size.
    opacity: of the fill, [0, 1].
    max_side: an image with a longer side is reduced to it, pixels.

    Raises as `MaskGenerator.generate`.
    """
    rgb = rgb_of(image)
    segmentations = [_segmentation(mask) for mask in masks]
    return Image.fromarray(overlay(reduced(rgb, max_side), segmentations, opacity=opacity))


def _segmentation(mask: MaskRecord | NDArray[np.bool_]) -> Rle:
    return mask.segmentation if isinstance(mask, MaskRecord) else rle.encode(mask)
