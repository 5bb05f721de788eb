"""From a detector's answers to the boxes of one image, in that image's own pixels."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sa_engine.detection.network import Answers, Places
from sa_engine.masks.nms import box_nms


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxFilter:
    """Which boxes are kept.

    score_thresh: boxes stay if their score is at least this, [0, 1]; 0 keeps all.
    nms_thresh: of two boxes with an IoU above this the one with the lower score goes, [0, 1].
    max_boxes: the best so many, >= 1.
    """

    score_thresh: float = 0.0
    nms_thresh: float = 0.6
    max_boxes: int = 100

    def __post_init__(self) -> None:
        for name in ("score_thresh", "nms_thresh"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}; give a value from 0 to 1")
        if self.max_boxes < 1:
            raise ValueError(f"max_boxes is {self.max_boxes}; give at least 1")


@dataclass(frozen=True, slots=True)
class FoundBoxes:
    """The boxes of one image, best first.

    boxes_xyxy_N4: pixels of the image, float32, inside it and with an area.
    scores_N: float32, [0, 1].
    """

    boxes_xyxy_N4: NDArray[np.float32]
    scores_N: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.scores_N)


CANDIDATES = 8
"""Boxes that go into suppression, as a multiple of those that may come out."""


def choose_boxes(
    answers: Answers, *, input_hw: tuple[int, int], size_hw: tuple[int, int], kept: BoxFilter
) -> FoundBoxes:
    """The boxes of one image from its answers (B is 1).

    input_hw: the image's (height, width) inside the model's input, without the padding.
    size_hw: the image's own (height, width).
    """
    scores_L = answers.score_logits_BL[0].sigmoid()
    scores_L = torch.where(inside(answers.places, input_hw), scores_L, -1.0)
    # An image's worth of numbers crosses to the CPU once, the few best ones only.
    top = min(len(scores_L), CANDIDATES * kept.max_boxes)
    scores_K, chosen_K = scores_L.topk(top)
    boxes_K4 = answers.boxes_BL4[0, chosen_K].float().cpu().numpy()
    scores = scores_K.float().cpu().numpy()
    (height, width), (input_h, input_w) = size_hw, input_hw
    scale = np.array([width / input_w, height / input_h] * 2, dtype=np.float32)
    limit = np.array([width, height] * 2, dtype=np.float32)
    boxes = np.clip(boxes_K4 * scale, 0, limit)
    sides = boxes[:, 2:] - boxes[:, :2]
    usable = (scores >= kept.score_thresh) & (scores >= 0) & (sides >= 1).all(axis=1)
    boxes, scores = boxes[usable], scores[usable]
    keep = box_nms(boxes, scores, iou_threshold=kept.nms_thresh)[: kept.max_boxes]
    return FoundBoxes(boxes[keep], scores[keep])


def inside(places: Places, input_hw: tuple[int, int]) -> Tensor:
    """(L,) bool: the places whose cell has a part of the image, not padding alone."""
    height, width = input_hw
    x, y = (places.centres_L2 - places.strides_L[:, None] / 2).unbind(dim=1)
    on_image: Tensor = (x < width) & (y < height)
    return on_image
