"""Who answers for what, and what it costs."""

import pytest
import torch

from sa_engine.detection.network import Answers, Places
from sa_engine.training.detector.config import DetectorLossConfig
from sa_engine.training.detector.losses import assign, box_iou, detector_loss, generalised_iou

# A row of four places, 10 px apart.
CENTRES = torch.tensor([[5.0, 5.0], [15.0, 5.0], [25.0, 5.0], [35.0, 5.0]])
BOXES = torch.tensor(
    [[0.0, 0, 20, 10], [0, 0, 18, 10], [20, 0, 30, 10], [30, 0, 40, 10]]
)  # fmt: skip
ALL = torch.ones(4, dtype=torch.bool)


def test_overlaps_of_boxes():
    first = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 10], [0, 0, 10, 10]])
    second = torch.tensor([[0.0, 0, 10, 10], [5, 0, 15, 10], [20, 0, 30, 10]])
    giou, iou = generalised_iou(first, second)
    # The hull of the last pair is 30 x 10, a third of it in neither box.
    assert iou.tolist() == pytest.approx([1, 1 / 3, 0])
    assert giou.tolist() == pytest.approx([1, 1 / 3, -1 / 3])
    assert box_iou(first[:1], second)[0].tolist() == pytest.approx([1, 1 / 3, 0])


def test_the_best_places_inside_an_object_answer_for_it():
    objects = torch.tensor([[0.0, 0, 20, 10], [30, 0, 40, 10]])
    scores = torch.tensor([0.5, 0.5, 0.5, 0.5])
    found = assign(
        scores, BOXES, objects, centres_L2=CENTRES, usable_L=ALL, config=DetectorLossConfig()
    )
    assert found.place_K.tolist() == [0, 1, 3]
    assert found.object_K.tolist() == [0, 0, 1]
    # The best one should score its IoU, the other less by (IoU 0.9) to the fourth.
    assert found.target_K.tolist() == pytest.approx([1, 0.9**4, 1])
    one = assign(
        scores,
        BOXES,
        objects,
        centres_L2=CENTRES,
        usable_L=ALL,
        config=DetectorLossConfig(places_per_object=1),
    )
    assert one.place_K.tolist() == [0, 3]


def test_an_object_between_places_has_the_nearest_that_is_usable():
    small = torch.tensor([[11.0, 3, 12, 4]])
    usable = torch.tensor([True, False, True, True])
    for mask, place in ((ALL, 1), (usable, 0)):
        found = assign(
            torch.full((4,), 0.1),
            BOXES,
            small,
            centres_L2=CENTRES,
            usable_L=mask,
            config=DetectorLossConfig(),
        )
        assert found.place_K.tolist() == [place]


def test_a_place_that_two_objects_want_fits_one():
    objects = torch.tensor([[0.0, 0, 20, 10], [0, 0, 18, 10]])
    found = assign(
        torch.full((4,), 0.5),
        BOXES,
        objects,
        centres_L2=CENTRES,
        usable_L=ALL,
        config=DetectorLossConfig(),
    )
    assert found.place_K.tolist() == [0, 1]
    assert found.object_K.tolist() == [0, 1]


def answers(logits: torch.Tensor) -> Answers:
    return Answers(logits[None], BOXES[None], Places(CENTRES, torch.full((4,), 10.0)))


def test_right_answers_cost_less_than_wrong_ones():
    objects = [torch.tensor([[0.0, 0, 20, 10]])]
    config = DetectorLossConfig(places_per_object=1)
    right, wrong = (
        detector_loss(answers(logits), objects, usable_BL=ALL[None], config=config)
        for logits in (torch.tensor([5.0, -5, -5, -5]), torch.tensor([-5.0, -5, -5, 5]))
    )
    assert float(right.loss) < 0.1 < 4 < float(wrong.loss)
    assert float(right.box_loss) == pytest.approx(0)
    assert float(right.box_iou) == pytest.approx(1)


def test_places_on_the_padding_cost_nothing():
    logits = torch.tensor([-5.0, -5, -5, 5])
    usable = torch.tensor([[True, True, True, False]])
    none = [torch.zeros(0, 4)]
    config = DetectorLossConfig()
    loss = detector_loss(answers(logits), none, usable_BL=usable, config=config)
    assert float(loss.loss) < 1e-4
    everywhere = detector_loss(answers(logits), none, usable_BL=ALL[None], config=config)
    assert float(everywhere.loss) > 3


def test_the_loss_moves_scores_and_boxes():
    logits = torch.zeros(4, requires_grad=True)
    boxes = BOXES.clone().requires_grad_()
    made = Answers(logits[None], boxes[None], Places(CENTRES, torch.full((4,), 10.0)))
    objects = [torch.tensor([[0.0, 0, 24, 10]])]
    detector_loss(made, objects, usable_BL=ALL[None], config=DetectorLossConfig()).loss.backward()
    assert logits.grad is not None and boxes.grad is not None
    assert logits.grad[0] < 0 < logits.grad[3]
    # The right edge of the first box has to move right.
    assert boxes.grad[0, 2] < 0
    assert boxes.grad[3].abs().sum() == 0


def test_values_out_of_range_are_named():
    with pytest.raises(ValueError, match="places_per_object is 0"):
        DetectorLossConfig(places_per_object=0)
    with pytest.raises(ValueError, match="focus is -1"):
        DetectorLossConfig(focus=-1)
