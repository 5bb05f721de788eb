"""What one training step sees of one image: pixels, target masks and the first prompts.

Everything that needs full-size masks happens here, on the data side, so that what travels to the
device is small: targets at the decoder's resolution, one point and one box for each of them.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

PIXEL_FILL = (124, 116, 104)
"""Fills the padding: the rounded mean pixel, about zero once normalised."""

LOGIT_STRIDE = 4
"""The decoder's masks have one value for 4 × 4 pixels of the model's input."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptConfig:
    """How the first prompt of a mask is drawn (paper, appendix A, "Training algorithm").

    masks_per_image: prompts drawn for each image; an image with fewer masks repeats them.
    box_probability: chance that round 1 gives a box rather than a point, [0, 1].
    box_noise: deviation of each box side as a fraction of the box's size.
    box_noise_max_px: most that a side moves, pixels of the model's input.
    centre_probability: chance that a point is the mask's innermost pixel rather than a random
        one, [0, 1]; the paper draws at random, evaluation asks for the innermost.
    max_area_fraction: masks over this share of the image are dropped.
    min_area: masks under this many pixels of the model's input are dropped.
    """

    masks_per_image: int = 64
    box_probability: float = 0.5
    box_noise: float = 0.1
    box_noise_max_px: float = 20.0
    centre_probability: float = 0.0
    max_area_fraction: float = 0.9
    min_area: float = 16.0

    def __post_init__(self) -> None:
        if self.masks_per_image < 1:
            raise ValueError(f"masks_per_image is {self.masks_per_image}; give at least 1")
        for name in ("box_probability", "centre_probability", "max_area_fraction"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}; give a value in [0, 1]")


@dataclass(frozen=True, slots=True)
class Sample:
    """One image, P target masks and the first prompts for them, in the model's input frame.

    image_3SS: uint8, S the model's input size; content at the top left, the rest PIXEL_FILL.
    targets_Phw: uint8 share of each logit cell that the mask covers, 0..255; h = w = S / 4.
    points_P2: float32 (x, y), the pixel of a foreground point (its centre is at + 0.5).
    boxes_P4: float32 (x0, y0, x1, y1), the mask's box with noise, pixels.
    box_first_P: bool, whether round 1 prompts with the box rather than the point.
    key: a number unique to the sample, from which later rounds draw their points.
    """

    image_3SS: NDArray[np.uint8]
    targets_Phw: NDArray[np.uint8]
    points_P2: NDArray[np.float32]
    boxes_P4: NDArray[np.float32]
    box_first_P: NDArray[np.bool_]
    key: int


def build_sample(
    rgb_HW3: NDArray[np.uint8],
    masks: list[NDArray[np.bool_]],
    *,
    size: int,
    config: PromptConfig,
    rng: np.random.Generator,
    key: int,
) -> Sample:
    """Fit an image and its masks into the model's input and draw the first prompts.

    rgb_HW3: uint8, any size; it is resized so that its longer side is at most `size`, as given if
        it already fits.
    masks: at least one (H, W) mask with foreground; repeated in turn up to
        `config.masks_per_image`.
    """
    height, width = rgb_HW3.shape[:2]
    scale = min(1.0, size / max(height, width))
    fit_hw = (max(1, round(height * scale)), max(1, round(width * scale)))
    image = np.empty((size, size, 3), dtype=np.uint8)
    image[:] = PIXEL_FILL
    resized = rgb_HW3 if scale == 1 else _resize(rgb_HW3, fit_hw)
    image[: fit_hw[0], : fit_hw[1]] = resized

    cells = size // LOGIT_STRIDE
    number = config.masks_per_image
    targets = np.empty((number, cells, cells), dtype=np.uint8)
    points = np.empty((number, 2), dtype=np.float32)
    boxes = np.empty((number, 4), dtype=np.float32)
    scale_xy = np.array([fit_hw[1] / width, fit_hw[0] / height], dtype=np.float32)
    for p in range(number):
        mask = masks[p % len(masks)]
        targets[p] = targets[p - len(masks)] if p >= len(masks) else _cover(mask, fit_hw, cells)
        innermost = rng.random() < config.centre_probability
        points[p] = (point_in(mask, rng=rng, innermost=innermost) + 0.5) * scale_xy - 0.5
        boxes[p] = _noisy_box(mask, scale_xy, config, rng)
    box_first = rng.random(number) < config.box_probability
    return Sample(image.transpose(2, 0, 1).copy(), targets, points, boxes, box_first, key)


def point_in(
    mask: NDArray[np.bool_], *, rng: np.random.Generator, innermost: bool
) -> NDArray[np.float32]:
    """A foreground pixel (x, y) of a non-empty mask: the one furthest from its edge, or any."""
    x0, y0, width, height = cv2.boundingRect(mask.view(np.uint8))
    window = mask[y0 : y0 + height, x0 : x0 + width]
    if innermost:
        padded = cv2.copyMakeBorder(window.view(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT)
        depth = cv2.distanceTransform(padded, cv2.DIST_L2, 3)[1:-1, 1:-1]
        flat = int(np.argmax(depth))
    else:
        candidates = np.flatnonzero(window)
        flat = int(candidates[rng.integers(len(candidates))])
    return np.array([x0 + flat % width, y0 + flat // width], dtype=np.float32)


def _cover(mask: NDArray[np.bool_], fit_hw: tuple[int, int], cells: int) -> NDArray[np.uint8]:
    """The share of each logit cell that a mask covers, 0..255."""
    target = np.zeros((cells * LOGIT_STRIDE, cells * LOGIT_STRIDE), dtype=np.uint8)
    full = mask.view(np.uint8) * np.uint8(255)
    target[: fit_hw[0], : fit_hw[1]] = _resize(full, fit_hw)
    covered = cv2.resize(target, (cells, cells), interpolation=cv2.INTER_AREA)
    return np.asarray(covered, dtype=np.uint8)


def _resize(array: NDArray[np.uint8], size_hw: tuple[int, int]) -> NDArray[np.uint8]:
    if array.shape[:2] == size_hw:
        return array
    smaller = size_hw[0] < array.shape[0]
    method = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    resized = cv2.resize(array, size_hw[::-1], interpolation=method)
    return np.asarray(resized, dtype=np.uint8)


def _noisy_box(
    mask: NDArray[np.bool_],
    scale_xy: NDArray[np.float32],
    config: PromptConfig,
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
    box = np.array([x, y, x + width, y + height], dtype=np.float32)
    box *= np.concatenate([scale_xy, scale_xy])
    side = np.tile(box[2:] - box[:2], 2)
    limit = config.box_noise_max_px
    noise = np.clip(rng.standard_normal(4) * config.box_noise * side, -limit, limit)
    # Noise never turns a box inside out.
    noise = np.clip(noise, -0.45 * side, 0.45 * side)
    return np.asarray(box + noise, dtype=np.float32)
