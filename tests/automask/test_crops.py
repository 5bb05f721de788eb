import numpy as np
import pytest
import torch

from sa_engine.automask.crops import Crop, crop_boxes, is_cut
from tests.support.torchvision_stand_in import import_segment_anything

import_segment_anything()
from segment_anything.utils import amg  # type: ignore[import-untyped]  # noqa: E402


def test_the_first_layer_is_the_whole_image() -> None:
    (crop,) = crop_boxes((30, 40), layers=0, overlap_ratio=0.3)
    assert crop == Crop(0, 0, 0, 40, 30)
    assert crop.size_hw == (30, 40)
    assert crop.xywh == (0, 0, 40, 30)


def test_two_by_two_crops_overlap() -> None:
    crops = crop_boxes((100, 200), layers=1, overlap_ratio=0.2)[1:]
    assert [(c.x0, c.y0, c.x1, c.y1) for c in crops] == [
        (0, 0, 110, 60),
        (0, 40, 110, 100),
        (90, 0, 200, 60),
        (90, 40, 200, 100),
    ]


@pytest.mark.parametrize("size_hw", [(1500, 2250), (427, 640), (333, 500), (97, 61)])
def test_crops_are_the_published_ones(size_hw: tuple[int, int]) -> None:
    ours = crop_boxes(size_hw, layers=3, overlap_ratio=512 / 1500)
    boxes, layers = amg.generate_crop_boxes(size_hw, 3, 512 / 1500)
    assert [[c.x0, c.y0, c.x1, c.y1] for c in ours] == boxes
    assert [c.layer for c in ours] == layers


def test_crops_of_a_tiny_image_are_never_empty() -> None:
    for crop in crop_boxes((3, 5), layers=3, overlap_ratio=0.0):
        assert min(crop.size_hw) > 0


def test_boxes_near_an_inner_edge_are_cut() -> None:
    crop = Crop(1, 0, 40, 110, 100)
    boxes = np.array(
        [
            [50, 70, 80, 75],  # inside
            [0, 70, 80, 99],  # at edges of the image only
            [50, 60, 80, 75],  # 20 px from the crop's top
            [50, 61, 80, 75],  # 21 px from it
            [50, 70, 90, 75],  # 20 px from the crop's right
        ]
    )
    cut = is_cut(boxes, crop, image_size_hw=(100, 200))
    np.testing.assert_array_equal(cut, [False, False, True, False, True])


def test_edges_are_judged_as_in_the_published_code() -> None:
    rng = np.random.default_rng(0)
    size_hw = (300, 420)
    corners = rng.integers(0, 300, (500, 2))
    for crop in crop_boxes(size_hw, layers=2, overlap_ratio=512 / 1500):
        span = np.array([crop.x1 - crop.x0, crop.y1 - crop.y0])
        first = corners % span
        last = first + rng.integers(0, 10_000, (500, 2)) % (span - first)
        inside = np.concatenate([first, last], axis=1)
        expected = amg.is_box_near_crop_edge(
            torch.from_numpy(inside),
            [crop.x0, crop.y0, crop.x1, crop.y1],
            [0, 0, size_hw[1], size_hw[0]],
        )
        moved = inside + np.array([crop.x0, crop.y0, crop.x0, crop.y0])
        np.testing.assert_array_equal(is_cut(moved, crop, image_size_hw=size_hw), expected)
