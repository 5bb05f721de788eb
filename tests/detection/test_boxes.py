"""From answers to the boxes of an image."""

from typing import Any

import numpy as np
import pytest
import torch

from sa_engine.detection.boxes import BoxFilter, choose_boxes, inside
from sa_engine.detection.network import Answers, Places


def answers(scores: list[float], boxes: list[list[float]], centres: list[list[float]]) -> Answers:
    places = Places(torch.tensor(centres), torch.full((len(centres),), 4.0))
    logits = torch.logit(torch.tensor([scores]), eps=1e-6)
    return Answers(logits, torch.tensor([boxes]), places)


FOUR = answers(
    [0.9, 0.8, 0.7, 0.6],
    [[0, 0, 10, 10], [0, 0, 10, 9], [20, 10, 50, 28], [2, 2, 6, 6]],
    [[6, 6], [2, 6], [30, 14], [2, 30]],
)
"""Two on one object, one that leaves the image, one whose place lies on the padding."""


def test_boxes_are_scaled_clipped_and_thinned_out():
    found = choose_boxes(FOUR, input_hw=(24, 40), size_hw=(48, 80), kept=BoxFilter())
    assert found.boxes_xyxy_N4.tolist() == [[0, 0, 20, 20], [40, 20, 80, 48]]
    assert found.scores_N == pytest.approx([0.9, 0.7])
    assert found.boxes_xyxy_N4.dtype == np.float32


def test_a_threshold_and_a_limit():
    lenient = BoxFilter(nms_thresh=1.0, score_thresh=0.75)
    found = choose_boxes(FOUR, input_hw=(24, 40), size_hw=(24, 40), kept=lenient)
    assert found.scores_N == pytest.approx([0.9, 0.8])
    one = choose_boxes(FOUR, input_hw=(24, 40), size_hw=(24, 40), kept=BoxFilter(max_boxes=1))
    assert one.boxes_xyxy_N4.tolist() == [[0, 0, 10, 10]]


def test_nothing_is_nothing():
    none = choose_boxes(
        FOUR, input_hw=(24, 40), size_hw=(24, 40), kept=BoxFilter(score_thresh=0.95)
    )
    assert (len(none), none.boxes_xyxy_N4.shape) == (0, (0, 4))


def test_places_on_the_padding_do_not_count():
    assert inside(FOUR.places, (24, 40)).tolist() == [True, True, True, False]
    # A strip of one pixel still has places: those whose cells it touches.
    column = Places(torch.tensor([[2.0, 2.0], [2.0, 6.0]]), torch.full((2,), 4.0))
    assert inside(column, (1, 40)).tolist() == [True, False]


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"nms_thresh": 2.0}, "nms_thresh is 2.0"), ({"max_boxes": 0}, "max_boxes is 0")],
)
def test_values_out_of_range_are_named(changes: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        BoxFilter(**changes)
