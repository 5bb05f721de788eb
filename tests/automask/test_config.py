from typing import Any

import pytest

from sa_engine.automask.config import PRESETS, GeneratorConfig, resolve
from sa_engine.errors import UsageError
from sa_engine.masks.regions import SmallMasks
from sa_engine.model.card import ModelCard


def test_defaults_are_the_published_ones() -> None:
    config = GeneratorConfig()
    assert config.points_per_side == 32
    assert config.pred_iou_thresh is None, "the model's own"
    published = config.with_thresholds_of(None)
    assert (published.least_predicted_iou, published.least_stability) == (0.88, 0.95)
    assert config.stability_score_offset == 1.0
    assert config.box_nms_thresh == 0.7
    assert config.crop_n_layers == 0
    assert config.crop_nms_thresh == 0.7
    assert config.crop_overlap_ratio == 512 / 1500
    assert config.crop_n_points_downscale_factor == 1
    assert config.point_grids is None
    assert config.min_mask_region_area == 0


def test_sa_1b_is_the_papers_automatic_stage() -> None:
    config = resolve(preset="sa-1b")
    assert (config.points_per_side, config.crop_n_layers) == (32, 2)
    assert config.crop_n_points_downscale_factor == 2
    assert config.min_mask_region_area == 100
    assert config.small_masks is SmallMasks.DROP
    assert config.max_mask_area_ratio == 0.95


@pytest.mark.parametrize(
    ("field", "value", "limit"),
    [
        ("points_per_side", 0, "1 or more"),
        ("points_per_batch", 0, "1 or more"),
        ("pred_iou_thresh", 1.2, "between 0 and 1"),
        ("stability_score_thresh", -0.1, "between 0 and 1"),
        ("stability_score_offset", 0, "greater than 0"),
        ("box_nms_thresh", 2, "between 0 and 1"),
        ("crop_n_layers", -1, "0 or more"),
        ("crop_nms_thresh", -1, "between 0 and 1"),
        ("crop_overlap_ratio", 1, "less than 1"),
        ("crop_n_points_downscale_factor", 0, "1 or more"),
        ("min_mask_region_area", -1, "0 or more"),
        ("max_mask_area_ratio", 0, "greater than 0"),
        ("min_mask_area", -1, "0 or more"),
        ("max_mask_area", 0, "1 or more"),
        ("mask_nms_thresh", 0, "greater than 0"),
        ("crops_per_batch", 0, "1 or more"),
    ],
)
def test_a_value_out_of_range_is_named_with_its_limit(field: str, value: Any, limit: str) -> None:
    with pytest.raises(UsageError, match=f"{field} is {value}; it must be .*{limit}"):
        GeneratorConfig(**{field: value})


def test_grids_must_fit_the_layers() -> None:
    centre = ((0.5, 0.5),)
    GeneratorConfig(points_per_side=None, point_grids=(centre,))
    with pytest.raises(UsageError, match="exclude each other"):
        GeneratorConfig(point_grids=(centre,))
    with pytest.raises(UsageError, match="give points_per_side or point_grids"):
        GeneratorConfig(points_per_side=None)
    with pytest.raises(UsageError, match="needs 2"):
        GeneratorConfig(points_per_side=None, point_grids=(centre,), crop_n_layers=1)
    with pytest.raises(UsageError, match="shares, 0 to 1"):
        GeneratorConfig(points_per_side=None, point_grids=(((3.0, 4.0),),))
    with pytest.raises(UsageError, match="leaves no point"):
        GeneratorConfig(points_per_side=4, crop_n_layers=3, crop_n_points_downscale_factor=2)


def test_limits_of_area_must_leave_room() -> None:
    with pytest.raises(UsageError, match="no mask could stay"):
        GeneratorConfig(min_mask_area=10, max_mask_area=9)


def test_options_go_over_the_preset_and_the_preset_over_the_card() -> None:
    card = {"pred_iou_thresh": 0.6, "stability_score_thresh": 0.7}
    assert resolve(recommended=card).pred_iou_thresh == 0.6
    assert resolve(recommended=card, preset="sa-1b").stability_score_thresh == 0.7
    assert resolve(recommended=card, preset="reference").pred_iou_thresh == 0.88
    config = resolve(
        recommended=card, preset="sa-1b", options={"pred_iou_thresh": 0.5, "crop_n_layers": 1}
    )
    assert (config.pred_iou_thresh, config.crop_n_layers) == (0.5, 1)
    assert config.min_mask_region_area == 100


def test_a_card_without_advice_leaves_the_defaults() -> None:
    assert resolve(recommended={"pred_iou_thresh": None}) == GeneratorConfig()
    assert resolve() == GeneratorConfig()


def test_thresholds_that_are_not_given_are_those_of_the_model() -> None:
    card = ModelCard(name="m", variant="vit_t", image_size=64, pred_iou_thresh=0.4)
    config = GeneratorConfig(stability_score_thresh=0.7).with_thresholds_of(card)
    assert (config.least_predicted_iou, config.least_stability) == (0.4, 0.7)
    with pytest.raises(ValueError, match="pred_iou_thresh was left to the model"):
        GeneratorConfig().least_predicted_iou  # noqa: B018


def test_a_card_may_recommend_that_masks_overlap_less() -> None:
    card = ModelCard(name="m", variant="vit_t", image_size=64, mask_nms_thresh=0.8)
    assert GeneratorConfig().with_thresholds_of(card).mask_nms_thresh == 0.8
    assert GeneratorConfig(mask_nms_thresh=1.0).with_thresholds_of(card).mask_nms_thresh == 1.0
    assert GeneratorConfig().with_thresholds_of(None).mask_nms_thresh is None
    assert resolve(recommended=card.recommended()).mask_nms_thresh == 0.8
    reference = resolve(recommended=card.recommended(), preset="reference")
    assert reference.with_thresholds_of(card).mask_nms_thresh == 1.0
    assert "mask_nms_thresh" not in card.least_quality()


def test_grids_replace_the_points_per_side() -> None:
    config = resolve(options={"point_grids": (((0.5, 0.5),),)})
    assert config.points_per_side is None


def test_unknown_names_are_refused() -> None:
    with pytest.raises(UsageError, match="unknown preset 'sa1b'; choose one of default, reference"):
        resolve(preset="sa1b")
    with pytest.raises(UsageError, match="no parameter 'iou'"):
        resolve(options={"iou": 0.5})


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_valid(name: str) -> None:
    resolve(preset=name)
