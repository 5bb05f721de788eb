"""From boxes to proposals: what is asked, chosen, measured and left out."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from sa_engine.automask.proposal_config import ProposalConfig, resolve_proposals
from sa_engine.automask.proposer import Proposer, rank
from sa_engine.dataset.records import MaskRecord, Stage
from sa_engine.detection.config import DetectorConfig
from sa_engine.detection.file import build_detector
from sa_engine.detection.network import Detector
from sa_engine.errors import UsageError
from sa_engine.masks import boxes as box_algebra
from sa_engine.masks import rle
from sa_engine.model.predictor import Predictor
from sa_engine.model.sam import Sam
from tests.support.small_sam import small_sam

EVERYTHING = ProposalConfig(
    box_score_thresh=0.0,
    max_boxes=12,
    pred_iou_thresh=0.0,
    stability_score_thresh=0.0,
    box_fit_thresh=0.0,
    max_mask_area_ratio=1.0,
    mask_nms_thresh=1.0,
    existing_box_thresh=1.0,
    existing_iou_thresh=1.0,
    existing_containment_thresh=1.0,
)
"""Nothing is left out."""


@pytest.fixture
def sam() -> Sam:
    torch.manual_seed(2)
    return small_sam(64).eval()


@pytest.fixture
def detector(sam: Sam) -> Detector:
    torch.manual_seed(3)
    return build_detector(DetectorConfig(channels=8, head_layers=1), sam).eval()


@pytest.fixture
def picture() -> np.ndarray:
    draw = np.random.default_rng(0)
    picture = draw.integers(0, 60, (48, 80, 3))
    picture[8:30, 10:40] += 150
    picture[20:44, 50:70, 0] += 120
    return picture.astype(np.uint8)


def proposals(
    sam: Sam, detector: Detector, picture: np.ndarray, existing: tuple = (), **changes: Any
) -> list[MaskRecord]:
    config = replace(EVERYTHING, **changes)
    return Proposer(sam, detector, config, provenance={"model": "x"}).propose(picture, existing)


def test_records_say_where_they_come_from(sam: Sam, detector: Detector, picture: np.ndarray):
    made = proposals(sam, detector, picture)
    assert 0 < len(made) <= 12
    for record in made:
        pixels = rle.decode(record.segmentation)
        assert pixels.shape == (48, 80)
        assert record.area == pixels.sum() >= 16
        assert record.bbox_xywh == rle.bbox_xywh(record.segmentation)
        assert record.stage is Stage.SEMI_AUTOMATIC
        assert record.crop_box_xywh == (0, 0, 80, 48)
        assert record.point_coords_xy == ()
        assert record.box_score is not None and 0 <= record.box_score <= 1
        assert record.predicted_iou is not None and 0 <= record.predicted_iou <= 1
        assert record.stability_score is not None and 0 <= record.stability_score <= 1
        assert record.prompt_box_xywh is not None
        x, y, width, height = record.prompt_box_xywh
        assert 0 <= x < x + width <= 80 and 0 <= y < y + height <= 48
        assert record.attributes == {"model": "x"}
    ranks = [rank(record) for record in made]
    assert ranks == sorted(ranks, reverse=True)


def test_each_mask_is_one_of_the_predictor_s_answers_to_its_box(
    sam: Sam, detector: Detector, picture: np.ndarray
):
    made = proposals(sam, detector, picture)
    predictor = Predictor(sam)
    predictor.set_image(picture)
    for record in made:
        box = box_algebra.xywh_to_xyxy(np.array(record.prompt_box_xywh))
        answers = predictor.predict(box_xyxy=box)
        pixels = rle.decode(record.segmentation)
        differing = [(pixels != mask).sum() for mask in answers.masks]
        best = int(np.argmin(differing))
        # Boxes were kept in float32, and masks are drawn tile by tile.
        assert differing[best] <= 0.01 * pixels.size
        clipped = min(max(float(answers.iou[best]), 0), 1)
        assert record.predicted_iou == pytest.approx(clipped, abs=1e-3)


def test_every_threshold_takes_effect(sam: Sam, detector: Detector, picture: np.ndarray):
    made = proposals(sam, detector, picture)

    def left(**changes: Any) -> list[MaskRecord]:
        return proposals(sam, detector, picture, **changes)

    middle = sorted(record.predicted_iou or 0 for record in made)[len(made) // 2]
    assert 0 < len(left(pred_iou_thresh=min(middle, 0.999))) < len(made) or middle in (0, 1)
    stability = sorted(record.stability_score or 0 for record in made)[len(made) // 2]
    kept = left(stability_score_thresh=stability)
    assert kept and all((r.stability_score or 0) >= stability - 1e-6 for r in kept)
    assert left(box_score_thresh=1.0) == []
    assert left(min_mask_area=48 * 80 + 1) == []
    assert len(left(max_boxes=1)) <= 1
    for record in left(box_fit_thresh=0.3):
        own = box_algebra.xywh_to_xyxy(np.array([record.bbox_xywh]))
        prompt = box_algebra.xywh_to_xyxy(np.array([record.prompt_box_xywh]))
        assert box_algebra.iou_matrix(own, prompt)[0, 0] >= 0.3 - 1e-6
    thinned = left(mask_nms_thresh=0.3)
    ious = rle.iou_matrix(*[[record.segmentation for record in thinned]] * 2)
    assert len(thinned) < len(made)
    assert (ious - np.eye(len(thinned)) <= 0.3).all()


def test_what_is_there_already_is_not_proposed_again(
    sam: Sam, detector: Detector, picture: np.ndarray
):
    made = proposals(sam, detector, picture)
    there = tuple(record.segmentation for record in made)
    assert proposals(sam, detector, picture, there, existing_iou_thresh=0.9) == []
    # Everything lies within the whole picture.
    whole = (rle.encode(np.ones((48, 80), dtype=bool)),)
    assert proposals(sam, detector, picture, whole, existing_containment_thresh=0.95) == []
    assert proposals(sam, detector, picture, whole, existing_containment_thresh=1.0) == made
    boxes = proposals(sam, detector, picture, whole, existing_box_thresh=0.5)
    assert 0 < len(boxes) <= len(made)
    for record in boxes:
        _, _, width, height = record.prompt_box_xywh or (0, 0, 0, 0)
        assert width * height <= 0.5 * 48 * 80 + 1
    # A small mask of people does not stand in the way of a large proposal around it.
    speck = np.zeros((48, 80), dtype=bool)
    speck[20:22, 20:22] = True
    again = proposals(
        sam,
        detector,
        picture,
        (rle.encode(speck),),
        existing_containment_thresh=0.9,
        existing_iou_thresh=0.5,
    )
    assert len(again) == len(made)


def test_a_picture_without_boxes_has_no_proposals(sam: Sam, detector: Detector):
    black = np.zeros((1, 200, 3), dtype=np.uint8)
    assert proposals(sam, detector, black, box_score_thresh=0.9) == []


def test_options_go_over_what_cards_recommend():
    config = resolve_proposals(
        recommended={"box_score_thresh": 0.2, "pred_iou_thresh": 0.7},
        options={"pred_iou_thresh": 0.5, "max_boxes": None},
    )
    assert (config.box_score_thresh, config.pred_iou_thresh, config.max_boxes) == (0.2, 0.5, 100)
    with pytest.raises(UsageError, match="no parameter 'colour'"):
        resolve_proposals(recommended={}, options={"colour": 1})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"box_score_thresh": 1.5}, r"box_score_thresh is 1\.5; it must be between 0 and 1"),
        ({"max_boxes": 0}, "max_boxes is 0"),
        ({"min_mask_area": -1}, "min_mask_area is -1"),
        ({"stability_score_offset": 0.0}, "stability_score_offset is"),
        ({"max_mask_area_ratio": 0.0}, "max_mask_area_ratio is"),
    ],
)
def test_values_out_of_range_are_named(changes: dict[str, Any], message: str):
    with pytest.raises(UsageError, match=message):
        ProposalConfig(**changes)


def test_threads_change_no_proposal(sam: Sam, detector: Detector, picture: np.ndarray):
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = proposals(sam, detector, picture, max_boxes=40)
        torch.set_num_threads(3)
        three = proposals(sam, detector, picture, max_boxes=40)
    finally:
        torch.set_num_threads(threads)
    assert len(one) > 3
    assert one == three
