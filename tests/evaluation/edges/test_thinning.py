"""Thinning equals MATLAB's (as scikit-image has it); edge NMS keeps ridges."""

import numpy as np
import pytest

from sa_engine.evaluation.edges.thinning import edge_nms, thin
from tests.support.drawing import grid


def test_a_thick_line() -> None:
    mask = grid("........", ".######.", ".######.", ".######.", "........")
    assert (
        thin(mask).tolist()
        == grid("........", "........", "..####..", "........", "........").tolist()
    )


@pytest.mark.parametrize("seed", range(6))
def test_equals_scikit_image(seed: int) -> None:
    morphology = pytest.importorskip("skimage.morphology")
    filters = pytest.importorskip("skimage.filters")
    noise = np.random.default_rng(seed).random((70, 90))
    for mask in (noise > 0.4, filters.gaussian(noise, 1 + seed / 2) > 0.5):
        assert (thin(mask) == morphology.thin(mask)).all()


def test_a_ridge_stays_and_its_sides_go() -> None:
    across = np.exp(-(((np.arange(41) - 20) / 3.0) ** 2)).astype(np.float32)
    upright = edge_nms(np.tile(across, (41, 1)))
    assert set(np.nonzero(upright > 1e-3)[1].tolist()) == {20}
    level = edge_nms(np.tile(across[:, None], (1, 41)))
    assert set(np.nonzero(level > 1e-3)[0].tolist()) == {20}
    # The rim is damped to nothing.
    assert upright[0, 20] == 0 and upright[20, 20] == 1
