import numpy as np
import pytest
from numpy.typing import NDArray

from sa_engine.masks.nms import Overlap, box_nms, mask_nms
from sa_engine.masks.rle import Rle, encode


def one_by_one(
    boxes_xyxy: NDArray[np.float32], scores: NDArray[np.float32], threshold: float
) -> list[int]:
    """The rule itself, a box at a time, in float32 as torchvision computes it."""
    area = (boxes_xyxy[:, 2] - boxes_xyxy[:, 0]) * (boxes_xyxy[:, 3] - boxes_xyxy[:, 1])
    gone = np.zeros(len(boxes_xyxy), dtype=np.bool_)
    kept = []
    for i in sorted(range(len(scores)), key=lambda k: (-scores[k], k)):
        if gone[i]:
            continue
        kept.append(i)
        low = np.maximum(boxes_xyxy[i, :2], boxes_xyxy[:, :2])
        high = np.minimum(boxes_xyxy[i, 2:], boxes_xyxy[:, 2:])
        shared = np.maximum(high - low, 0).prod(axis=1)
        with np.errstate(invalid="ignore"):
            iou = shared / (area[i] + area - shared)
        gone |= iou.astype(np.float64) > threshold
    return kept


def test_a_better_box_removes_a_worse_one() -> None:
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [20, 20, 30, 30]])
    kept = box_nms(boxes, np.array([0.5, 0.9, 0.7]), iou_threshold=0.7)
    np.testing.assert_array_equal(kept, [1, 2])


def test_overlap_equal_to_the_threshold_stays() -> None:
    boxes = np.array([[0, 0, 2, 1], [0, 0, 1, 1]])
    assert box_nms(boxes, np.array([1.0, 0.5]), iou_threshold=0.5).tolist() == [0, 1]
    assert box_nms(boxes, np.array([1.0, 0.5]), iou_threshold=0.49).tolist() == [0]


def test_equal_scores_are_taken_in_their_given_order() -> None:
    boxes = np.array([[9, 9, 10, 10], [0, 0, 4, 4], [0, 0, 4, 4], [20, 20, 22, 22]])
    kept = box_nms(boxes, np.array([0.5, 0.5, 0.5, 0.9]), iou_threshold=0.5)
    np.testing.assert_array_equal(kept, [3, 0, 1])


def test_boxes_without_area_remove_nothing() -> None:
    boxes = np.array([[5, 5, 5, 5], [5, 5, 5, 5], [0, 0, 9, 9]])
    assert box_nms(boxes, np.array([0.9, 0.8, 0.7]), iou_threshold=0.0).tolist() == [0, 1, 2]


def test_groups_leave_each_other_alone() -> None:
    boxes, scores = np.array([[0, 0, 4, 4]] * 4), np.array([0.1, 0.3, 0.2, 0.4])
    kept = box_nms(boxes, scores, iou_threshold=0.5, groups=np.array([7, 3, 7, 5]))
    np.testing.assert_array_equal(kept, [3, 1, 2])


def test_nothing_in_nothing_out() -> None:
    assert box_nms(np.zeros((0, 4)), np.zeros(0), iou_threshold=0.7).size == 0
    assert mask_nms([], np.zeros(0), threshold=0.7).size == 0


def test_scores_of_another_number_are_refused() -> None:
    with pytest.raises(ValueError, match="2 boxes with 3 scores"):
        box_nms(np.zeros((2, 4)), np.zeros(3), iou_threshold=0.5)
    with pytest.raises(ValueError, match="1 masks with 2 scores"):
        mask_nms(rles(block(0, 0, 4, 4)), np.zeros(2), threshold=0.5)


@pytest.mark.parametrize("threshold", [-0.1, 1.1])
def test_thresholds_outside_their_range_are_refused(threshold: float) -> None:
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        box_nms(np.zeros((1, 4)), np.zeros(1), iou_threshold=threshold)
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        mask_nms([], np.zeros(0), threshold=threshold)


@pytest.mark.parametrize("threshold", [0.0, 0.05, 0.3, 0.5, 0.7, 0.9, 1.0])
@pytest.mark.parametrize("scene", ["small", "mixed", "clustered", "lines", "unit square"])
def test_crowded_images_equal_the_rule_taken_one_by_one(scene: str, threshold: float) -> None:
    rng = np.random.default_rng(5)
    count = 1500
    centre = rng.uniform(0, 1000, (count, 2))
    side = np.exp(rng.uniform(np.log(3), np.log(40 if scene == "small" else 800), (count, 2)))
    if scene == "clustered":
        cluster = rng.integers(0, 30, count)
        centre = centre[cluster] + rng.normal(0, 3, (count, 2))
        side = side[cluster] * rng.uniform(0.9, 1.1, (count, 2))
    if scene == "lines":
        centre[:, 0], side = 500, np.stack([rng.uniform(800, 900, count), side[:, 1] / 20], axis=1)
    boxes = np.concatenate([centre - side / 2, centre + side / 2], axis=1).astype(np.float32)
    boxes = boxes / np.float32(1000) if scene == "unit square" else boxes.round()
    scores = rng.integers(0, 200, count).astype(np.float32)  # many ties
    kept = box_nms(boxes, scores, iou_threshold=threshold)
    np.testing.assert_array_equal(kept, one_by_one(boxes, scores, threshold))


def block(x0: int, y0: int, x1: int, y1: int) -> NDArray[np.bool_]:
    mask = np.zeros((20, 20), dtype=np.bool_)
    mask[y0:y1, x0:x1] = True
    return mask


def rles(*masks: NDArray[np.bool_]) -> list[Rle]:
    return [encode(mask) for mask in masks]


def test_mask_nms_sees_the_duplicate_that_a_far_speck_hides_from_boxes() -> None:
    speckled = block(0, 0, 8, 8) | block(19, 19, 20, 20)
    masks = rles(block(0, 0, 8, 8), speckled)
    boxes = np.array([[0, 0, 8, 8], [0, 0, 20, 20]])
    scores = np.array([0.9, 0.8])
    assert box_nms(boxes, scores, iou_threshold=0.7).tolist() == [0, 1]
    assert mask_nms(masks, scores, threshold=0.7).tolist() == [0]


def test_mask_nms_keeps_neighbours_with_one_box() -> None:
    diagonal = np.tri(20, dtype=np.bool_)
    masks = rles(diagonal, ~diagonal)
    assert mask_nms(masks, np.array([0.2, 0.4]), threshold=0.0).tolist() == [1, 0]


def test_containment_removes_parts_that_iou_keeps() -> None:
    masks = rles(block(0, 0, 16, 16), block(2, 2, 6, 6), block(14, 0, 20, 4))
    scores = np.array([0.9, 0.8, 0.7])
    assert mask_nms(masks, scores, threshold=0.5).tolist() == [0, 1, 2]
    contained = mask_nms(masks, scores, threshold=0.5, overlap=Overlap.CONTAINMENT)
    assert contained.tolist() == [0, 2]  # a third of the last one is shared


@pytest.mark.parametrize("overlap", Overlap)
@pytest.mark.parametrize("threshold", [0.0, 0.15, 0.5, 0.85, 1.0])
def test_masks_equal_the_rule_taken_one_by_one(overlap: Overlap, threshold: float) -> None:
    rng = np.random.default_rng(6)
    low, size = rng.integers(0, 18, (150, 2)), rng.integers(1, 14, (150, 2))
    masks = [
        block(*a, *(a + b)) & (rng.random((20, 20)) < 0.9) for a, b in zip(low, size, strict=True)
    ]
    scores = rng.integers(0, 40, len(masks)) / 40
    kept: list[int] = []
    for i in np.argsort(-scores, kind="stable"):
        for j in kept:
            shared = (masks[i] & masks[j]).sum()
            areas = (masks[i].sum(), masks[j].sum())
            whole = min(areas) if overlap is Overlap.CONTAINMENT else sum(areas) - shared
            if shared and shared / whole > threshold:
                break
        else:
            kept.append(int(i))
    assert mask_nms(rles(*masks), scores, threshold=threshold, overlap=overlap).tolist() == kept
