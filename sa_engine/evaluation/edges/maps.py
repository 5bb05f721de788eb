"""Edge maps from a model's masks (paper, appendix D.2).

A 16 x 16 grid of points gives 768 masks; NMS leaves some of them. Of each, the Sobel magnitude of
its probabilities counts along its outer boundary; the strongest of all masks is the edge map,
scaled to [0, 1] and thinned by edge NMS.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from sa_engine.automask.point_grid import even_grid
from sa_engine.evaluation.edges.thinning import edge_nms
from sa_engine.masks.nms import box_nms
from sa_engine.masks.rle import Mask
from sa_engine.model.framing import fitted_size, logits_at_full_size
from sa_engine.model.predictor import Predictor

_AT_ONCE = 48


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeConfig:
    """How edges are made of masks.

    points_per_side: of the grid, from 1. nms_thresh: of two masks whose boxes have an IoU above
    this the one with the lower predicted IoU goes, [0, 1].
    """

    points_per_side: int = 16
    nms_thresh: float = 0.7


def edge_map(
    predictor: Predictor, rgb_HW3: NDArray[np.uint8], config: EdgeConfig
) -> NDArray[np.float32]:
    """The edge map of an image, (H, W) float32 in [0, 1]."""
    predictor.set_image(rgb_HW3)
    height, width = rgb_HW3.shape[:2]
    points = even_grid(config.points_per_side) * (width, height)
    answers = predictor.answer_points(points)
    logits = torch.from_numpy(answers.logits).flatten(0, 1)
    scores = answers.iou.ravel()
    strongest = np.zeros((height, width), dtype=np.float32)
    for index in _survivors(predictor, logits, scores, config.nms_thresh):
        full = _full_size(predictor, logits[index : index + 1])[0].numpy()
        np.maximum(strongest, mask_edges(full), out=strongest)
    most = float(strongest.max())
    return edge_nms(strongest / most) if most > 0 else strongest


def mask_edges(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Sobel magnitude of a mask's probabilities on its outer boundary.

    logits: (H, W) float32, above 0 is the mask.
    """
    probability = 1 / (1 + np.exp(-logits))
    gradient = np.hypot(
        cv2.Sobel(probability, cv2.CV_32F, 1, 0), cv2.Sobel(probability, cv2.CV_32F, 0, 1)
    )
    edges: NDArray[np.float32] = np.where(outer_boundary(logits > 0), gradient, 0)
    return edges


def outer_boundary(mask: Mask) -> Mask:
    """Pixels outside a (H, W) mask that touch it by a side or corner."""
    grown: Mask = cv2.dilate(mask.view(np.uint8), np.ones((3, 3), np.uint8)).view(np.bool_)
    return grown & ~mask


def _survivors(
    predictor: Predictor, logits: torch.Tensor, scores: NDArray[np.float32], nms_thresh: float
) -> NDArray[np.int64]:
    """Masks with pixels that NMS of their boxes keeps, best first."""
    boxes = np.zeros((len(scores), 4))
    for start in range(0, len(scores), _AT_ONCE):
        full = _full_size(predictor, logits[start : start + _AT_ONCE]).numpy() > 0
        for offset, mask in enumerate(full):
            x, y, w, h = cv2.boundingRect(mask.view(np.uint8))
            boxes[start + offset] = (x, y, x + w, y + h)
    filled = np.flatnonzero(boxes[:, 2] > boxes[:, 0])
    return filled[box_nms(boxes[filled], scores[filled], iou_threshold=nms_thresh)]


def _full_size(predictor: Predictor, logits: torch.Tensor) -> torch.Tensor:
    image_size = predictor.sam.image_size
    return logits_at_full_size(
        logits,
        input_hw=fitted_size(predictor.size_hw, image_size),
        size_hw=predictor.size_hw,
        image_size=image_size,
    )
