"""The generator against the published one, with the same weights."""

from copy import deepcopy
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from sa_engine.automask.config import GeneratorConfig
from sa_engine.automask.generator import MaskGenerator
from sa_engine.automask.parity import compare, summarise
from sa_engine.dataset.records import MaskRecord, Stage
from sa_engine.masks import rle as run_lengths
from sa_engine.masks.rle import Rle
from sa_engine.model.card import ModelCard
from sa_engine.model.checkpoint import load_checkpoint
from sa_engine.model.encoders import strips
from sa_engine.model.sam import Sam
from sa_engine.model.weights import bundled_model, list_models, load_model
from tests.support.reference import reference_records, reference_sam

ROOT = Path(__file__).resolve().parents[2]


def assert_same(ours: list[MaskRecord], theirs: list[dict[str, Any]]) -> None:
    """The same masks in the same order with the same scores."""
    assert len(ours) == len(theirs)
    for mine, other in zip(ours, theirs, strict=True):
        coded = Rle(tuple(other["segmentation"]["size"]), other["segmentation"]["counts"])
        if mine.segmentation != coded:
            # Rounding may flip a pixel whose logit is zero up to rounding.
            differing = run_lengths.decode(mine.segmentation) != run_lengths.decode(coded)
            assert differing.sum() <= max(2, 0.001 * mine.area)
        else:
            assert mine.area == other["area"]
            x, y, w, h = other["bbox"]  # the published box ends at the last pixel
            assert mine.bbox_xywh == (x, y, w + 1, h + 1)
        assert mine.predicted_iou == pytest.approx(other["predicted_iou"], abs=1e-4)
        # One flipped pixel weighs more than 1e-4 in a mask of less than 10,000 pixels.
        tolerance = max(1e-4, 2 / other["area"])
        assert mine.stability_score == pytest.approx(other["stability_score"], abs=tolerance)
        assert [list(p) for p in mine.point_coords_xy] == other["point_coords"]
        assert list(mine.crop_box_xywh) == other["crop_box"]
        assert mine.stage is Stage.AUTOMATIC


# With random weights masks reach all over the image, so that box NMS is left to other tests.
@pytest.mark.parametrize(
    "parameters",
    [
        {"points_per_side": 6},
        {"points_per_side": 4, "crop_n_layers": 1, "crop_n_points_downscale_factor": 2},
        {"points_per_side": 4, "min_mask_region_area": 30},
        {"points_per_side": 5, "pred_iou_thresh": 0.7, "stability_score_thresh": 0.3},
        {"points_per_side": 3, "stability_score_offset": 0.2, "stability_score_thresh": 0.8},
    ],
    ids=str,
)
def test_random_weights_give_the_published_masks(
    random_sam: Sam, picture: NDArray[np.uint8], parameters: dict[str, Any]
) -> None:
    everything = {
        "pred_iou_thresh": 0.0,
        "stability_score_thresh": 0.0,
        "box_nms_thresh": 1.0,
        "crop_nms_thresh": 1.0,
    }
    parameters = {**everything, **parameters}
    theirs = reference_records(reference_sam(random_sam), picture, **parameters)
    ours = MaskGenerator(random_sam, GeneratorConfig(**parameters)).generate(picture)
    assert len(theirs) >= 8
    assert_same(ours, theirs)


@pytest.mark.parametrize(
    "parameters",
    [
        {"points_per_side": 6, "pred_iou_thresh": 0.2},
        {"points_per_side": 4, "crop_n_layers": 1, "crop_n_points_downscale_factor": 2},
    ],
    ids=str,
)
def test_skips_give_the_masks_of_a_plain_model(
    random_lite: Sam, picture: NDArray[np.uint8], parameters: dict[str, Any]
) -> None:
    """The published generator around a plain lite encoder and the decoder with its skips."""
    some = {"pred_iou_thresh": 0.6, "stability_score_thresh": 0.3}
    parameters = {**some, "box_nms_thresh": 1.0, "crop_nms_thresh": 1.0, **parameters}
    theirs = reference_records(reference_sam(random_lite), picture, **parameters)
    ours = MaskGenerator(random_lite, GeneratorConfig(**parameters)).generate(picture)
    assert len({record.area for record in ours}) >= 8
    assert_same(ours, theirs)


@pytest.fixture(scope="module")
def trained_sam() -> Sam:
    """The bundled model with a smaller input, to be quick."""
    if not list_models():
        pytest.skip("this checkout has no bundled model")
    return load_checkpoint(bundled_model(), image_size=256)


@pytest.fixture(scope="module")
def photographs(picture: NDArray[np.uint8]) -> dict[str, NDArray[np.uint8]]:
    """The drawn picture, one of the repository's photographs, and one of the research data."""
    found = {"drawn": picture}
    examples = sorted((ROOT / "examples" / "images").glob("*.jpg"))
    fixtures = sorted((ROOT.parent / "shared" / "data" / "fixtures" / "images").glob("*.jpg"))
    for name, paths in (("example", examples), ("fixture", fixtures)):
        if paths:
            stored = cv2.imread(str(paths[0]))
            assert stored is not None
            photograph = cast(NDArray[np.uint8], cv2.cvtColor(stored, cv2.COLOR_BGR2RGB))
            found[name] = photograph[:280, :360]  # the published generator takes its time
    return found


GRID = {"points_per_side": 7}
CROPS = {"points_per_side": 5, "crop_n_layers": 1, "crop_n_points_downscale_factor": 2}
REGIONS = {"min_mask_region_area": 100, "box_nms_thresh": 0.5}


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("drawn", {**CROPS, **REGIONS}),
        ("example", GRID),
        ("fixture", {**GRID, **REGIONS}),
        ("fixture", CROPS),
    ],
    ids=["drawn, crops, regions", "example", "fixture, regions", "fixture, crops"],
)
def test_trained_weights_give_the_published_masks(
    trained_sam: Sam,
    photographs: dict[str, NDArray[np.uint8]],
    name: str,
    parameters: dict[str, Any],
) -> None:
    if name not in photographs:
        pytest.skip("photograph is not at hand")
    image = photographs[name]
    # Thresholds that about half of all masks pass, well away from any mask's own score.
    loose: dict[str, Any] = {
        "points_per_side": 6,
        "box_nms_thresh": 1.0,
        "stability_score_thresh": 0.0,
    }
    published: dict[str, Any] = {"mask_nms_thresh": 1.0}  # it has no such step
    every = MaskGenerator(trained_sam, GeneratorConfig(**loose, pred_iou_thresh=0.0)).generate(
        image
    )
    parameters = {
        **parameters,
        "pred_iou_thresh": float(np.quantile([r.predicted_iou or 0.0 for r in every], 0.4)),
        "stability_score_thresh": float(
            np.quantile([r.stability_score or 0.0 for r in every], 0.3)
        ),
    }
    theirs = reference_records(reference_sam(trained_sam), image, **parameters)
    ours = MaskGenerator(trained_sam, GeneratorConfig(**parameters, **published)).generate(image)
    assert len(theirs) >= 5
    assert_same(ours, theirs)


def generate(sam: Sam, rgb_HW3: NDArray[np.uint8], **parameters: Any) -> list[MaskRecord]:
    """All masks of a small grid, whatever their scores."""
    loose = {
        "points_per_side": 3,
        "pred_iou_thresh": 0.0,
        "stability_score_thresh": 0.0,
        "box_nms_thresh": 1.0,
        "crop_nms_thresh": 1.0,
    }
    return MaskGenerator(sam, GeneratorConfig(**{**loose, **parameters})).generate(rgb_HW3)


def test_batches_change_nothing_but_rounding(random_sam: Sam, picture: NDArray[np.uint8]) -> None:
    layers = {"crop_n_layers": 1, "crop_n_points_downscale_factor": 2}
    alone = generate(random_sam, picture, **layers, points_per_batch=1, crops_per_batch=1)
    together = generate(random_sam, picture, **layers, points_per_batch=64, crops_per_batch=4)
    assert len(alone) == len(together) > 0
    for one, other in zip(alone, together, strict=True):
        assert run_lengths.iou_matrix([one.segmentation], [other.segmentation])[0, 0] >= 0.999
        assert one.predicted_iou == pytest.approx(other.predicted_iou, abs=1e-4)


def test_the_same_image_twice_gives_the_same_records(
    random_sam: Sam, picture: NDArray[np.uint8]
) -> None:
    assert generate(random_sam, picture) == generate(random_sam, picture)


@pytest.mark.parametrize("threads", [2, 3])
@pytest.mark.parametrize("model", ["random_sam", "random_lite"])
def test_any_number_of_threads_gives_the_same_records(
    model: str,
    picture: NDArray[np.uint8],
    threads: int,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    random_sam: Sam = request.getfixturevalue(model)
    # Small enough for the encoder's maps to be cut.
    monkeypatch.setattr(strips, "LEAST_STRIP_BYTES", 1 << 14)
    config = GeneratorConfig(points_per_side=6, pred_iou_thresh=0.0, stability_score_thresh=0.0)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = MaskGenerator(random_sam, config).generate(picture)
        torch.set_num_threads(threads)
        assert MaskGenerator(random_sam, config).generate(picture) == alone
    finally:
        torch.set_num_threads(before)
    assert alone


def test_limits_of_area_hold_in_pixels_and_as_a_share_of_the_image(
    random_sam: Sam, picture: NDArray[np.uint8]
) -> None:
    every = generate(random_sam, picture)
    areas = sorted(record.area for record in every)
    least, most = areas[len(areas) // 4], areas[3 * len(areas) // 4]
    limited = generate(random_sam, picture, min_mask_area=least, max_mask_area=most)
    assert limited == [r for r in every if least <= r.area <= most]
    share = most / (picture.shape[0] * picture.shape[1])
    smaller = generate(random_sam, picture, max_mask_area_ratio=share)
    assert smaller == [r for r in every if r.area < most]


def test_mask_nms_is_an_option(random_sam: Sam, picture: NDArray[np.uint8]) -> None:
    every = generate(random_sam, picture)
    apart = generate(random_sam, picture, mask_nms_thresh=0.5)
    assert 0 < len(apart) < len(every)
    assert [r for r in every if r in apart] == apart
    masks = [record.segmentation for record in apart]
    ious = run_lengths.iou_matrix(masks, masks)
    assert np.triu(ious, 1).max() <= 0.5


def test_explicit_points(random_sam: Sam, picture: NDArray[np.uint8]) -> None:
    records = generate(
        random_sam, picture, points_per_side=None, point_grids=(((0.25, 0.5), (1.0, 1.0)),)
    )
    assert {r.point_coords_xy for r in records} == {((45.0, 60.0),), ((180.0, 120.0),)}


def test_nothing_above_the_thresholds_gives_no_records(
    random_sam: Sam, picture: NDArray[np.uint8]
) -> None:
    nothing = {"stability_score_thresh": 1.0, "min_mask_region_area": 10, "mask_nms_thresh": 0.9}
    assert generate(random_sam, picture, crop_n_layers=1, **nothing) == []


@pytest.mark.parametrize("size_hw", [(1, 1), (2, 700), (300, 3), (5, 4)])
def test_images_of_any_shape(random_sam: Sam, size_hw: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*size_hw, 3), dtype=np.uint8)
    for record in generate(random_sam, image, points_per_side=2, crop_n_layers=1):
        assert record.segmentation.size_hw == size_hw
        assert record.area == run_lengths.area(record.segmentation) > 0


def test_thresholds_are_those_of_the_model(random_sam: Sam, picture: NDArray[np.uint8]) -> None:
    sam = deepcopy(random_sam)
    assert MaskGenerator(sam).config.pred_iou_thresh == 0.88, "the published one without a card"
    sam.card = ModelCard(
        name="m", variant="vit_t", image_size=128, pred_iou_thresh=0.2, stability_score_thresh=0.3
    )
    generator = MaskGenerator(sam, points_per_side=4)
    assert (generator.config.pred_iou_thresh, generator.config.points_per_side) == (0.2, 4)
    given = GeneratorConfig(points_per_side=4, pred_iou_thresh=0.2, stability_score_thresh=0.3)
    expected = MaskGenerator(random_sam, given).generate(picture)
    assert generator.generate(picture) == expected != []
    with pytest.raises(TypeError, match="points_a_side"):
        MaskGenerator(sam, points_a_side=4)


def test_the_bundled_model_finds_masks_without_being_told_thresholds() -> None:
    sam = load_model(device="cpu", precision="fp32")
    assert sam.card is not None
    photo = sorted((ROOT / "examples" / "images").glob("*.jpg"))[0]
    masks = MaskGenerator(sam, GeneratorConfig(points_per_side=8)).generate(photo)
    assert masks
    assert min(m.predicted_iou or 0 for m in masks) > sam.card.pred_iou_thresh


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4), dtype=np.uint8),
        np.zeros((4, 4, 4), dtype=np.uint8),
        np.zeros((4, 4, 3), dtype=np.float32),
        np.zeros((0, 4, 3), dtype=np.uint8),
    ],
)
def test_other_arrays_are_refused(random_sam: Sam, image: NDArray[Any]) -> None:
    with pytest.raises(ValueError, match=r"\(H, W, 3\) uint8"):
        generate(random_sam, image)


def test_a_read_only_view_of_an_image_will_do(random_sam: Sam, picture: NDArray[np.uint8]) -> None:
    flipped = picture[::-1, ::-1]
    flipped.flags.writeable = False
    assert generate(random_sam, flipped) == generate(random_sam, flipped.copy())


def test_bf16_finds_nearly_the_same_masks(random_sam: Sam, picture: NDArray[np.uint8]) -> None:
    loose: dict[str, Any] = {
        "pred_iou_thresh": 0.0,
        "stability_score_thresh": 0.0,
        "box_nms_thresh": 1.0,
    }
    config = GeneratorConfig(points_per_side=2, **loose)
    exact = MaskGenerator(random_sam, config).generate(picture)
    coarse = MaskGenerator(deepcopy(random_sam), config, precision=torch.bfloat16).generate(picture)
    assert summarise([compare(exact, coarse, match_iou=0.8)]).matched_share > 0.9
