"""Shapes, places and the first answers of the network."""

import pytest
import torch

from sa_engine.detection.config import DetectorConfig
from sa_engine.detection.encoder import encode
from sa_engine.detection.file import build_detector
from tests.detection.test_encoder import small_vit
from tests.support.small_sam import small_sam


@pytest.mark.parametrize("plain_vit", [False, True])
def test_every_place_answers_with_a_box_around_it(plain_vit: bool):
    torch.manual_seed(0)
    sam = small_vit(64) if plain_vit else small_sam(64).eval()
    detector = build_detector(DetectorConfig(channels=16), sam).eval()
    with torch.inference_mode():
        answers = detector(encode(sam, torch.randn(2, 3, 64, 64)))
    # Strides 4, 8, 16: 16 x 16, 8 x 8 and 4 x 4 places.
    assert answers.score_logits_BL.shape == (2, 256 + 64 + 16)
    assert answers.boxes_BL4.shape == (2, 256 + 64 + 16, 4)
    assert answers.places.centres_L2[[0, 1, 16, 256, 320]].tolist() == [
        [2, 2], [6, 2], [2, 6], [4, 4], [8, 8]
    ]  # fmt: skip
    assert answers.places.strides_L[[0, 256, 320]].tolist() == [4, 8, 16]
    centres = answers.places.centres_L2
    assert (answers.boxes_BL4[..., :2] < centres).all()
    assert (answers.boxes_BL4[..., 2:] > centres).all()
    # Before training: a small score everywhere, boxes of about four strides.
    assert answers.score_logits_BL.sigmoid().mean() == pytest.approx(0.01, rel=0.2)
    sides = answers.boxes_BL4[..., 2:] - answers.boxes_BL4[..., :2]
    assert (sides / answers.places.strides_L[:, None]).mean() == pytest.approx(4, rel=0.2)


def test_an_input_whose_side_is_no_multiple_of_the_last_stride():
    sam = small_sam(48).eval()
    detector = build_detector(DetectorConfig(channels=8, finest_stride=16), sam).eval()
    assert detector.strides == (16,)
    wide = small_sam(208).eval()
    detector = build_detector(DetectorConfig(channels=8, finest_stride=8), wide).eval()
    with torch.inference_mode():
        answers = detector(encode(wide, torch.zeros(1, 3, 208, 208)))
    assert answers.score_logits_BL.shape[1] == 26**2 + 13**2 + 7**2 == len(answers.places.strides_L)
