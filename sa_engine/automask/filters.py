"""What is known of the masks that are still in the running, and which of them stay.

Order, thresholds and rounding are the published generator's; steps that only the paper or this
engine has are marked in `GeneratorConfig`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sa_engine.automask.config import GeneratorConfig
from sa_engine.automask.crops import Crop, is_cut
from sa_engine.automask.outlines import MaskTiles, split
from sa_engine.automask.tiles import Measured
from sa_engine.masks.nms import box_nms
from sa_engine.masks.stability import stability_from_counts


@dataclass(frozen=True, slots=True)
class Candidates:
    """N masks of one image; all arrays have N rows in the order in which they were found.

    points_xy_N2: the prompt of each, pixels of the image, float64.
    predicted_iou_N, stability_N: float32.
    boxes_xyxy_N4: pixels of the image, the last column and row included, int64.
    crop_N: which of the image's crops, int64.
    masks: their tiles in the crop.
    """

    points_xy_N2: NDArray[np.float64]
    predicted_iou_N: NDArray[np.float32]
    stability_N: NDArray[np.float32]
    boxes_xyxy_N4: NDArray[np.int64]
    crop_N: NDArray[np.int64]
    masks: tuple[MaskTiles, ...]

    def __len__(self) -> int:
        return len(self.masks)

    def select(self, indices: NDArray[np.int64]) -> "Candidates":
        """The chosen ones, in the order of `indices`."""
        return Candidates(
            self.points_xy_N2[indices],
            self.predicted_iou_N[indices],
            self.stability_N[indices],
            self.boxes_xyxy_N4[indices],
            self.crop_N[indices],
            tuple(self.masks[i] for i in indices),
        )


def concatenate(parts: Sequence[Candidates]) -> Candidates:
    """All candidates in order."""
    if not parts:
        none = np.empty((0, 2))
        return Candidates(
            none,
            np.empty(0, np.float32),
            np.empty(0, np.float32),
            np.empty((0, 4), np.int64),
            np.empty(0, np.int64),
            (),
        )
    return Candidates(
        np.concatenate([p.points_xy_N2 for p in parts]),
        np.concatenate([p.predicted_iou_N for p in parts]),
        np.concatenate([p.stability_N for p in parts]),
        np.concatenate([p.boxes_xyxy_N4 for p in parts]),
        np.concatenate([p.crop_N for p in parts]),
        tuple(mask for p in parts for mask in p.masks),
    )


def confident(iou_PM: Tensor, config: GeneratorConfig) -> tuple[Tensor, Tensor]:
    """Prompt and mask index of the masks whose predicted IoU is above the threshold, (K,) each."""
    if config.least_predicted_iou > 0:
        prompt_K, mask_K = torch.nonzero(iou_PM > config.least_predicted_iou, as_tuple=True)
    else:
        prompt_K, mask_K = torch.nonzero(torch.ones_like(iou_PM), as_tuple=True)
    return prompt_K, mask_K


def stable_and_whole(
    measured: Measured,
    *,
    predicted_iou_K: NDArray[np.float32],
    points_xy_K2: NDArray[np.float64],
    crop: Crop,
    crop_index: int,
    image_size_hw: tuple[int, int],
    config: GeneratorConfig,
) -> Candidates:
    """The masks of a crop that are stable, within the area limits, and not cut by the crop's edge.

    An empty mask never stays.
    """
    area = measured.area_M.cpu().numpy()
    stability = stability_from_counts(measured.high_M.cpu().numpy(), measured.low_M.cpu().numpy())
    keep = within_area_limits(area, image_size_hw=image_size_hw, config=config)
    if config.least_stability > 0:
        keep &= stability >= np.float32(config.least_stability)
    corner = np.array([crop.x0, crop.y0, crop.x0, crop.y0])
    boxes = measured.boxes_xyxy_M4.cpu().numpy() + corner
    keep &= ~is_cut(boxes, crop, image_size_hw=image_size_hw)
    chosen = np.flatnonzero(keep)
    return Candidates(
        points_xy_K2[chosen],
        predicted_iou_K[chosen],
        stability[chosen],
        boxes[chosen],
        np.full(len(chosen), crop_index, dtype=np.int64),
        tuple(split(measured.masks, chosen)),
    )


def within_area_limits(
    area: NDArray[np.int64], *, image_size_hw: tuple[int, int], config: GeneratorConfig
) -> NDArray[np.bool_]:
    """Which masks have at least one pixel and lie within the configured limits of area."""
    keep = area >= max(config.min_mask_area, 1)
    if config.max_mask_area is not None:
        keep &= area <= config.max_mask_area
    if config.max_mask_area_ratio < 1:
        keep &= area < config.max_mask_area_ratio * (image_size_hw[0] * image_size_hw[1])
    return keep


def suppress_within_crop(found: Candidates, config: GeneratorConfig) -> Candidates:
    """Box NMS by predicted IoU."""
    keep = box_nms(found.boxes_xyxy_N4, found.predicted_iou_N, iou_threshold=config.box_nms_thresh)
    return found.select(keep)


def suppress_between_crops(
    found: Candidates, crops: Sequence[Crop], config: GeneratorConfig
) -> Candidates:
    """Box NMS that prefers masks of smaller crops, and of equal crops the one found first."""
    crop_area = np.array([crop.size_hw[0] * crop.size_hw[1] for crop in crops], dtype=np.float32)
    scores = 1 / crop_area[found.crop_N]
    return found.select(box_nms(found.boxes_xyxy_N4, scores, iou_threshold=config.crop_nms_thresh))
