from typing import Any

import numpy as np
import pytest
import torch

from sa_engine.model.predictor import Predictor
from sa_engine.model.variants import build_sam
from tests.support.small_sam import small_sam
from tests.support.weights import randomise

RGB = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    sam = build_sam("vit_t", 64)
    randomise(sam, seed=0)
    predictor = Predictor(sam)
    predictor.set_image(RGB)
    return predictor


def test_shapes(predictor: Predictor) -> None:
    three = predictor.predict(points_xy=[[5, 6]], labels=[1])
    assert three.masks.shape == (3, 40, 60)
    assert three.masks.dtype == np.bool_
    assert three.iou.shape == (3,)
    assert three.low_res_logits.shape == (3, 16, 16)
    one = predictor.predict(
        box_xyxy=[1, 2, 30, 20], mask_logits=three.low_res_logits[:1], multimask=False
    )
    assert one.masks.shape == (1, 40, 60)


def test_boxes_at_once_equal_one_by_one(predictor: Predictor) -> None:
    boxes = np.array([[i, 2 * i, 20 + i, 30 + i] for i in range(6)])
    masks, iou = predictor.predict_boxes(boxes)
    assert masks.shape == (6, 1, 40, 60)
    for i, box in enumerate(boxes):
        alone = predictor.predict(box_xyxy=box, multimask=False)
        np.testing.assert_allclose(iou[i], alone.iou, atol=1e-5)
        assert np.mean(masks[i] != alone.masks) < 1e-3


def test_no_boxes(predictor: Predictor) -> None:
    masks, iou = predictor.predict_boxes([])
    assert masks.shape == (0, 1, 40, 60)
    assert iou.shape == (0, 1)


def test_a_kept_embedding_answers_alike(predictor: Predictor) -> None:
    again = Predictor(predictor.sam)
    again.set_embedding(predictor.embedding, predictor.size_hw)
    expected = predictor.predict(points_xy=[[5, 6]], labels=[1])
    found = again.predict(points_xy=[[5, 6]], labels=[1])
    np.testing.assert_array_equal(found.low_res_logits, expected.low_res_logits)


@pytest.mark.parametrize("multimask", [True, False])
def test_answers_are_predictions_without_their_masks(predictor: Predictor, multimask: bool) -> None:
    prompt: dict[str, Any] = {"points_xy": [[5, 6], [30, 20]], "labels": [1, 0]}
    expected = predictor.predict(**prompt, multimask=multimask)
    found = predictor.answer(**prompt, multimask=multimask)
    np.testing.assert_array_equal(found.logits, expected.low_res_logits)
    np.testing.assert_array_equal(found.iou, expected.iou)


def test_goes_back_to_an_image_as_it_was(predictor: Predictor) -> None:
    first = predictor.encoded
    expected = predictor.answer(points_xy=[[5, 6]], labels=[1])
    predictor.set_image(RGB[:, ::-1].copy()[:30])
    assert predictor.size_hw == (30, 60)
    assert not np.array_equal(predictor.answer(points_xy=[[5, 6]], labels=[1]).iou, expected.iou)
    predictor.encoded = first
    again = predictor.answer(points_xy=[[5, 6]], labels=[1])
    np.testing.assert_array_equal(again.logits, expected.logits)


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ({}, "needs points, boxes or masks"),
        ({"points_xy": [[1, 2]], "labels": [1, 0]}, "1 points but 2 labels"),
        ({"points_xy": [[1, 2]], "labels": [7]}, "labels are 1"),
        (
            {"mask_logits": np.zeros((1, 8, 8))},
            r"mask prompt is \(1, 8, 8\); expected \(1, 16, 16\)",
        ),
    ],
)
def test_bad_prompts(predictor: Predictor, prompt: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        predictor.predict(**prompt)


def test_bad_image(predictor: Predictor) -> None:
    with pytest.raises(ValueError, match=r"got \(40, 60\) uint8"):
        Predictor(predictor.sam).set_image(RGB[..., 0])
    with pytest.raises(ValueError, match="float64"):
        Predictor(predictor.sam).set_image(RGB / 2)  # type: ignore[arg-type]


def test_points_without_labels_are_foreground(predictor: Predictor) -> None:
    expected = predictor.predict(points_xy=[[5, 6], [7, 8]], labels=[1, 1])
    found = predictor.predict(points_xy=[[5, 6], [7, 8]])
    np.testing.assert_array_equal(found.low_res_logits, expected.low_res_logits)


def test_an_image_comes_first(predictor: Predictor) -> None:
    with pytest.raises(RuntimeError, match="call set_image"):
        Predictor(predictor.sam).predict(points_xy=[[1, 2]], labels=[1])


def test_half_precision() -> None:
    sam = build_sam("vit_t", 64)
    randomise(sam, seed=0)
    predictor = Predictor(sam, precision=torch.bfloat16)
    predictor.set_image(RGB)
    assert predictor.embedding.coarse_BCHW.dtype == torch.bfloat16
    found = predictor.predict(points_xy=[[5, 6]], labels=[1])
    assert found.low_res_logits.dtype == np.float32


def test_points_at_once_are_answered_as_one_by_one() -> None:
    predictor = Predictor(small_sam(64))
    predictor.set_image(np.random.default_rng(1).integers(0, 255, (40, 56, 3), dtype=np.uint8))
    points = [(3.5, 4.5), (30.0, 20.0), (50.0, 39.0)]
    together = predictor.answer_points(points)
    assert together.logits.shape == (3, 3, 16, 16)
    for place, point in enumerate(points):
        alone = predictor.answer(points_xy=[point])
        np.testing.assert_allclose(together.logits[place], alone.logits, atol=1e-4)
        np.testing.assert_allclose(together.iou[place], alone.iou, atol=1e-5)
