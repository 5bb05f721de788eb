"""Boxes near each other: none that overlaps is missed, and few that do not are looked at."""

import numpy as np
import pytest

from sa_engine.masks.boxes import iou_matrix
from sa_engine.masks.neighbours import NearbyBoxes


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7, 1.0])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_few_pairs_beyond_those_that_overlap(scale: float, threshold: float) -> None:
    rng = np.random.default_rng(3)
    centre = rng.uniform(0, 1000, (1500, 2))
    side = np.exp(rng.uniform(np.log(5), np.log(40), (1500, 2)))
    boxes = scale * np.concatenate([centre - side / 2, centre + side / 2], axis=1)
    times_found = np.zeros((1500, 1500), dtype=np.int64)
    for first, second in NearbyBoxes(boxes, threshold).pairs(np.arange(1500)):
        np.add.at(times_found, (first, second), 1)
    np.fill_diagonal(times_found, 1)
    assert times_found.max() == 1
    assert times_found[iou_matrix(boxes, boxes) > threshold].all()
    assert times_found.mean() < (0.008 if threshold < 0.5 else 0.0025)
