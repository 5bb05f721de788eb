import numpy as np
import pytest
import torch
from PIL import Image

from sa_engine.model.framing import (
    fitted_size,
    logits_at_full_size,
    resize_to_input,
    to_input_frame,
)


@pytest.mark.parametrize(
    ("size_hw", "expected"),
    [
        ((1500, 2250), (683, 1024)),  # 682.67
        ((2250, 1500), (1024, 683)),
        ((512, 512), (1024, 1024)),
        ((1, 4000), (1, 1024)),  # 0.256 would vanish
    ],
)
def test_fitted_size(size_hw: tuple[int, int], expected: tuple[int, int]) -> None:
    assert fitted_size(size_hw, 1024) == expected


def test_resizes_as_pillow_does() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (30, 50, 3), dtype=np.uint8)
    found = resize_to_input(rgb, 20)
    expected = np.asarray(Image.fromarray(rgb).resize((20, 12), Image.Resampling.BILINEAR))
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, expected)


def test_points_scale_by_the_rounded_size() -> None:
    # 100 × 30 becomes 64 × 19 (19.2): the sides scale by 0.64 and 19 / 30.
    points = to_input_frame(np.array([[100.0, 30.0], [50.0, 0.0]]), (30, 100), 64)
    np.testing.assert_allclose(points, [[64.0, 19.0], [32.0, 0.0]])


def test_logits_lose_their_padding() -> None:
    # The image fills the upper half of the model's input; below, the padding says "foreground".
    logits = torch.full((1, 16, 16), -5.0)
    logits[:, 8:] = 5.0
    full = logits_at_full_size(logits, input_hw=(32, 64), size_hw=(10, 20), image_size=64)
    assert full.shape == (1, 10, 20)
    assert full[0, :9].max() < 0
