"""Non-maximum suppression: of overlapping boxes or masks, keep those with the best scores.

Greedy, as everywhere in this field: take candidates by descending score; each one that is still
there is kept and removes every later one that overlaps it by more than the threshold. Equal
scores are taken in their given order. A result lists kept candidates in the order in which they
were taken.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sa_engine.masks import boxes as box_algebra
from sa_engine.masks import rle as run_lengths
from sa_engine.masks.neighbours import NearbyBoxes
from sa_engine.masks.rle import Rle

_BLOCK = 256
"""Candidates settled at a time: their square is one small table."""


class Overlap(StrEnum):
    """How the overlap of two masks is measured."""

    IOU = "iou"
    CONTAINMENT = "containment"
    """Intersection over the smaller of the two areas: 1 for a part inside its whole."""


def box_nms(
    boxes_xyxy: NDArray[Any],
    scores: NDArray[Any],
    *,
    iou_threshold: float,
    groups: NDArray[Any] | None = None,
) -> NDArray[np.int64]:
    """Indices of the boxes that greedy suppression keeps, best score first.

    boxes_xyxy: (N, 4), used as float32.
    scores: (N,).
    iou_threshold: [0, 1]; a box goes if its IoU with a kept one is greater.
    groups: (N,) integers; boxes of different groups leave each other alone. None is one group.

    IoU is computed in float32 and compared with the threshold as a double, so that results equal
    those of `torchvision.ops.nms` and `batched_nms` bit for bit. Time grows with the number of
    boxes and of truly close pairs, not with the square of N; memory with N.

    Raises ValueError if the threshold is outside [0, 1] or lengths differ.
    """
    if not 0 <= iou_threshold <= 1:
        raise ValueError(f"an IoU threshold lies in [0, 1]; got {iou_threshold}")
    boxes = np.ascontiguousarray(boxes_xyxy, dtype=np.float32).reshape(-1, 4)
    scores = np.asarray(scores)
    if len(scores) != len(boxes):
        raise ValueError(f"{len(boxes)} boxes with {len(scores)} scores")
    if groups is None:
        return _one_group(boxes, scores, iou_threshold)
    kept = [
        members[_one_group(boxes[members], scores[members], iou_threshold)]
        for members in (np.flatnonzero(groups == group) for group in np.unique(groups))
    ]
    indices = np.sort(np.concatenate(kept)) if kept else np.empty(0, dtype=np.int64)
    return indices[np.argsort(-scores[indices], kind="stable")]


def mask_nms(
    rles: Sequence[Rle],
    scores: NDArray[Any],
    *,
    threshold: float,
    overlap: Overlap = Overlap.IOU,
) -> NDArray[np.int64]:
    """Indices of the masks that greedy suppression keeps by the overlap of the masks themselves.

    It finds duplicates that box NMS cannot tell from neighbours (two diagonal objects) and misses
    (a duplicate with a far-away speck).

    scores: (N,).
    threshold: [0, 1]; a mask goes if its overlap with a kept one is greater.
    overlap: IoU, or containment, which also removes parts of kept masks and wholes of kept parts.
    """
    if not 0 <= threshold <= 1:
        raise ValueError(f"an overlap threshold lies in [0, 1]; got {threshold}")
    scores = np.asarray(scores)
    if len(scores) != len(rles):
        raise ValueError(f"{len(rles)} masks with {len(scores)} scores")
    boxes = np.array([run_lengths.bbox_xywh(rle) for rle in rles], dtype=np.float64).reshape(-1, 4)
    boxes = box_algebra.xywh_to_xyxy(boxes)
    areas = np.array([run_lengths.area(rle) for rle in rles], dtype=np.float64)
    waiting = np.argsort(-scores, kind="stable")
    kept: list[int] = []
    while waiting.size:
        best, waiting = int(waiting[0]), waiting[1:]
        kept.append(best)
        close = _may_overlap(best, waiting, boxes, areas, threshold, overlap)
        if not close.any():
            continue
        rivals = waiting[close]
        ious = run_lengths.iou_matrix([rles[best]], [rles[i] for i in rivals])[0]
        if overlap is Overlap.CONTAINMENT:
            shared = run_lengths.shared_pixels(ious, areas[best] + areas[rivals])
            values = shared / np.minimum(areas[best], areas[rivals])
        else:
            values = ious
        close[close] = values > threshold
        waiting = waiting[~close]
    return np.array(kept, dtype=np.int64)


def _one_group(
    boxes: NDArray[np.float32], scores: NDArray[Any], iou_threshold: float
) -> NDArray[np.int64]:
    order = np.argsort(-scores, kind="stable")
    boxes = boxes[order]
    alive = np.ones(len(boxes), dtype=np.bool_)
    nearby = NearbyBoxes(boxes, iou_threshold) if len(boxes) > _BLOCK else None
    kept: list[NDArray[np.int64]] = []
    for start in range(0, len(boxes), _BLOCK):
        stop = start + _BLOCK
        winners = start + np.flatnonzero(alive[start:stop])
        winners = winners[_settle(boxes[winners], iou_threshold)]
        kept.append(winners)
        if nearby is None or stop >= len(boxes):
            continue
        for winner, rival in nearby.pairs(winners):
            open_case = alive[rival] & (rival >= stop)
            winner, rival = winner[open_case], rival[open_case]
            ious = box_algebra.paired_iou(boxes[winner], boxes[rival])
            alive[rival[ious.astype(np.float64) > iou_threshold]] = False
    return order[np.concatenate(kept)] if kept else order


def _settle(boxes: NDArray[np.float32], iou_threshold: float) -> NDArray[np.bool_]:
    """Which boxes of one small block, best first, survive each other."""
    ious = box_algebra.paired_iou(boxes[:, None], boxes[None, :])
    removes = ious.astype(np.float64) > iou_threshold
    alive = np.ones(len(boxes), dtype=np.bool_)
    for i in np.flatnonzero(np.triu(removes, 1).any(axis=1)):
        if alive[i]:
            alive[i + 1 :] &= ~removes[i, i + 1 :]
    return alive


def _may_overlap(
    best: int,
    others: NDArray[np.int64],
    boxes: NDArray[np.float64],
    areas: NDArray[np.float64],
    threshold: float,
    overlap: Overlap,
) -> NDArray[np.bool_]:
    """Bound the overlap from boxes and areas: masks share no more than their boxes do."""
    left_top = np.maximum(boxes[best, :2], boxes[others, :2])
    right_bottom = np.minimum(boxes[best, 2:], boxes[others, 2:])
    shared = np.prod(np.maximum(right_bottom - left_top, 0), axis=1)
    smaller = np.minimum(areas[best], areas[others])
    shared = np.minimum(shared, smaller)
    whole = smaller if overlap is Overlap.CONTAINMENT else areas[best] + areas[others] - shared
    may: NDArray[np.bool_] = (shared > 0) & (shared >= threshold * whole)
    return may
