"""Axis-aligned boxes as arrays: two layouts, areas, intersection over union.

Layouts: `xyxy` is (left, top, right, bottom), `xywh` is (left, top, width, height), both in
pixels with x to the right and y down. Edges are continuous: the area of a box is
(right - left) * (bottom - top).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def xyxy_to_xywh(boxes_xyxy: NDArray[Any]) -> NDArray[Any]:
    """Corners to corner and size, (..., 4); the dtype is kept."""
    boxes_xywh = np.array(boxes_xyxy)
    boxes_xywh[..., 2:] -= boxes_xywh[..., :2]
    return boxes_xywh


def xywh_to_xyxy(boxes_xywh: NDArray[Any]) -> NDArray[Any]:
    """Corner and size to corners, (..., 4); the dtype is kept."""
    boxes_xyxy = np.array(boxes_xywh)
    boxes_xyxy[..., 2:] += boxes_xyxy[..., :2]
    return boxes_xyxy


def area(boxes_xyxy: NDArray[Any]) -> NDArray[Any]:
    """Areas of (..., 4) boxes in square pixels, shape (...); the dtype is kept."""
    sides = boxes_xyxy[..., 2:] - boxes_xyxy[..., :2]
    product: NDArray[Any] = sides[..., 0] * sides[..., 1]
    return product


def paired_iou(first_xyxy: NDArray[Any], second_xyxy: NDArray[Any]) -> NDArray[Any]:
    """IoU of boxes that broadcast against each other, in their own dtype.

    first_xyxy, second_xyxy: (..., 4).
    A pair of boxes without area has no IoU; it is given 0.
    """
    left_top = np.maximum(first_xyxy[..., :2], second_xyxy[..., :2])
    right_bottom = np.minimum(first_xyxy[..., 2:], second_xyxy[..., 2:])
    sides = np.maximum(right_bottom - left_top, 0)
    shared = sides[..., 0] * sides[..., 1]
    union = area(first_xyxy) + area(second_xyxy) - shared
    iou: NDArray[Any] = np.zeros_like(shared)
    np.divide(shared, union, out=iou, where=union > 0)
    return iou


def iou_matrix(first_xyxy: NDArray[Any], second_xyxy: NDArray[Any]) -> NDArray[np.float64]:
    """IoU of every box of `first_xyxy` (N, 4) with every box of `second_xyxy` (M, 4): (N, M)."""
    first = np.asarray(first_xyxy, dtype=np.float64).reshape(-1, 1, 4)
    second = np.asarray(second_xyxy, dtype=np.float64).reshape(1, -1, 4)
    return paired_iou(first, second)
