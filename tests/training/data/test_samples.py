"""Pictures and masks fitted into the model's input."""

import numpy as np
import pytest

from sa_engine.training.data.samples import PIXEL_FILL, PromptConfig, build_sample, point_in

EXACT = PromptConfig(masks_per_image=2, box_noise=0.0)


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def block(size_hw: tuple[int, int], x: slice, y: slice) -> np.ndarray:
    mask = np.zeros(size_hw, dtype=np.bool_)
    mask[y, x] = True
    return mask


def test_a_wide_picture_is_padded_below():
    rgb = np.full((8, 16, 3), 200, dtype=np.uint8)
    mask = block((8, 16), slice(4, 8), slice(0, 4))
    sample = build_sample(rgb, [mask], size=16, config=EXACT, rng=rng(), key=3)
    assert sample.image_3SS.shape == (3, 16, 16)
    assert (sample.image_3SS[:, :8] == 200).all()
    assert (sample.image_3SS[:, 8:] == np.array(PIXEL_FILL)[:, None, None]).all()
    expected = np.zeros((4, 4), dtype=np.uint8)
    expected[0, 1] = 255
    assert (sample.targets_Phw == expected).all()
    assert sample.targets_Phw.shape == (2, 4, 4)
    assert sample.boxes_P4.tolist() == [[4, 0, 8, 4]] * 2
    assert sample.key == 3


def test_a_large_picture_is_shrunk_with_its_prompts():
    rgb = np.zeros((32, 32, 3), dtype=np.uint8)
    mask = block((32, 32), slice(8, 16), slice(16, 32))
    sample = build_sample(rgb, [mask], size=16, config=EXACT, rng=rng(), key=0)
    assert sample.boxes_P4[0].tolist() == [4, 8, 8, 16]
    assert (sample.targets_Phw[0] == 255 * block((4, 4), slice(1, 2), slice(2, 4))).all()
    for x, y in sample.points_P2:
        assert 3.5 <= x < 7.5 and 7.5 <= y < 15.5


def test_a_cell_half_covered_is_half_covered():
    rgb = np.zeros((16, 16, 3), dtype=np.uint8)
    mask = block((16, 16), slice(0, 2), slice(0, 4))
    sample = build_sample(rgb, [mask], size=16, config=EXACT, rng=rng(), key=0)
    assert 126 <= sample.targets_Phw[0, 0, 0] <= 128


def test_the_innermost_point_and_any_point():
    mask = block((9, 9), slice(2, 7), slice(2, 7))
    assert point_in(mask, rng=rng(), innermost=True).tolist() == [4, 4]
    draw = rng()
    drawn = {tuple(point_in(mask, rng=draw, innermost=False).tolist()) for _ in range(400)}
    assert drawn == {(x, y) for x in range(2, 7) for y in range(2, 7)}


def test_box_noise_is_limited():
    config = PromptConfig(masks_per_image=500, box_noise=0.1, box_noise_max_px=3)
    mask = block((128, 128), slice(20, 120), slice(60, 70))
    rgb = np.zeros((128, 128, 3), dtype=np.uint8)
    sample = build_sample(rgb, [mask], size=128, config=config, rng=rng(), key=0)
    moved = np.abs(sample.boxes_P4 - np.array([20, 60, 120, 70]))
    assert moved[:, [0, 2]].max() == 3
    assert 0.7 < moved[:, [1, 3]].mean() < 0.9  # E|N(0, 1)| = 0.8, times 10 % of 10 px
    assert (sample.boxes_P4[:, 2:] > sample.boxes_P4[:, :2]).all()


def test_boxes_and_points_half_and_half():
    config = PromptConfig(masks_per_image=1000)
    mask = block((16, 16), slice(4, 8), slice(4, 8))
    rgb = np.zeros((16, 16, 3), dtype=np.uint8)
    sample = build_sample(rgb, [mask], size=16, config=config, rng=rng(), key=0)
    assert 0.45 < sample.box_first_P.mean() < 0.55


def test_bad_values_are_named():
    with pytest.raises(ValueError, match="box_probability is 2"):
        PromptConfig(box_probability=2)
    with pytest.raises(ValueError, match="masks_per_image is 0"):
        PromptConfig(masks_per_image=0)
