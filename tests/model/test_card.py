import json

import pytest

from sa_engine.errors import CheckpointError
from sa_engine.model.card import ModelCard

CARD = ModelCard(
    name="tiny",
    variant="vit_t",
    image_size=512,
    data=("scenes, made here", "photographs é"),
    options={"lr": 0.001, "rounds": [1, 2]},
    results={"mIoU": 0.5},
    pred_iou_thresh=0.7,
    stability_score_thresh=0.9,
)


def test_round_trip() -> None:
    text = CARD.to_json()
    assert ModelCard.from_json(text) == CARD
    assert list(json.loads(text)) == sorted(json.loads(text))
    assert "\n" not in text


def test_passes_over_what_a_newer_engine_says() -> None:
    values = json.loads(CARD.to_json()) | {"colour": "blue"}
    assert ModelCard.from_json(json.dumps(values)) == CARD


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"name": "x"}', "not json"])
def test_damaged(text: str) -> None:
    with pytest.raises(CheckpointError, match="the model card is damaged"):
        ModelCard.from_json(text)


def test_thresholds_are_fractions() -> None:
    with pytest.raises(ValueError, match="pred_iou_thresh is 88"):
        ModelCard(name="x", variant="vit_t", image_size=64, pred_iou_thresh=88)
