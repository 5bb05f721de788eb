"""Edge maps of masks: only along the outer boundary, from a real model."""

import numpy as np

from sa_engine.evaluation.edges.maps import EdgeConfig, edge_map, mask_edges, outer_boundary
from sa_engine.model.predictor import Predictor
from tests.support.drawing import grid
from tests.support.small_sam import small_sam


def test_the_outer_boundary() -> None:
    mask = grid(".....", ".....", "..#..", ".....", ".....")
    assert (
        outer_boundary(mask).tolist() == grid(".....", ".###.", ".#.#.", ".###.", ".....").tolist()
    )


def test_edges_lie_outside_the_mask_and_grow_with_its_contrast() -> None:
    logits = np.full((20, 20), -8, dtype=np.float32)
    logits[6:14, 6:14] = 8
    sharp, soft = mask_edges(logits), mask_edges(logits / np.float32(8))
    assert (sharp > 0).sum() == 36
    assert not (sharp[6:14, 6:14] > 0).any()
    assert sharp.max() > soft.max() > 0


def test_a_model_gives_a_map_of_the_images_size() -> None:
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 255, (48, 64, 3), dtype=np.uint8)
    edges = edge_map(Predictor(small_sam(64)), rgb, EdgeConfig(points_per_side=3))
    assert edges.shape == (48, 64)
    assert edges.dtype == np.float32
    assert edges.min() >= 0 and edges.max() <= 1
