"""Between an image's own pixels and the model's square input.

Source: the public code of "Segment Anything": the longest side is resized to the model's, the image
stands at the top left, and masks come back by two bilinear steps. Followed to the pixel, because
weights were trained with it.
"""

from typing import Any

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

PIXEL_MEAN = (123.675, 116.28, 103.53)
PIXEL_STD = (58.395, 57.12, 57.375)
"""Of RGB in [0, 255], by which pixels are normalised."""


def fitted_size(size_hw: tuple[int, int], image_size: int) -> tuple[int, int]:
    """(height, width) of an image once its longest side is `image_size`.

    Rounded half up; a side that would vanish is one pixel.
    """
    height, width = size_hw
    scale = image_size * 1.0 / max(height, width)
    return max(int(height * scale + 0.5), 1), max(int(width * scale + 0.5), 1)


def resize_to_input(rgb_HW3: NDArray[np.uint8], image_size: int) -> NDArray[np.uint8]:
    """Resize so that the longest side is `image_size`: Pillow's bilinear filter, uint8."""
    height, width = fitted_size((rgb_HW3.shape[0], rgb_HW3.shape[1]), image_size)
    resized = Image.fromarray(rgb_HW3).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(resized)


def to_input_frame(
    points_xy: NDArray[Any], size_hw: tuple[int, int], image_size: int
) -> NDArray[np.float64]:
    """Scale points (..., 2), (x, y) in pixels of the image, to pixels of the model's input."""
    height, width = size_hw
    new_height, new_width = fitted_size(size_hw, image_size)
    scale_xy = np.array([new_width / width, new_height / height])
    scaled: NDArray[np.float64] = np.asarray(points_xy, dtype=np.float64) * scale_xy
    return scaled


def logits_at_full_size(
    logits_KHW: Tensor, *, input_hw: tuple[int, int], size_hw: tuple[int, int], image_size: int
) -> Tensor:
    """Low-resolution logits (K, S/4, S/4) at the image's own size, (K, height, width).

    input_hw: the image's size inside the model's input, without the padding.
    """
    square = F.interpolate(
        logits_KHW[:, None], (image_size, image_size), mode="bilinear", align_corners=False
    )
    inside = square[..., : input_hw[0], : input_hw[1]]
    return F.interpolate(inside, size_hw, mode="bilinear", align_corners=False)[:, 0]
