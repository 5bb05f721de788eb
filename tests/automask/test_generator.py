"""The generator against the published one, with the same weights."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sa_engine.automask.config import GeneratorConfig
from sa_engine.automask.generator import MaskGenerator
from sa_engine.dataset.records import MaskRecord, Stage
from sa_engine.masks import rle as run_lengths
from sa_engine.masks.rle import Rle
from sa_engine.model.sam import Sam
from tests.automask.reference import reference_records, reference_sam


def assert_same(ours: list[MaskRecord], theirs: list[dict[str, Any]]) -> None:
    """The same masks in the same order with the same scores."""
    assert len(ours) == len(theirs)
    for mine, other in zip(ours, theirs, strict=True):
        coded = Rle(tuple(other["segmentation"]["size"]), other["segmentation"]["counts"])
        if mine.segmentation != coded:
            # Rounding may flip a pixel whose logit is zero up to rounding.
            assert run_lengths.iou_matrix([mine.segmentation], [coded])[0, 0] >= 0.999
        else:
            assert mine.area == other["area"]
            x, y, w, h = other["bbox"]  # the published box ends at the last pixel
            assert mine.bbox_xywh == (x, y, w + 1, h + 1)
        assert mine.predicted_iou == pytest.approx(other["predicted_iou"], abs=1e-4)
        assert mine.stability_score == pytest.approx(other["stability_score"], abs=1e-4)
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
