"""Synthetic scenes."""

import numpy as np
import pytest

from sa_engine.training.data.scene_config import SceneConfig
from sa_engine.training.data.scenes import render_scene

CONFIG = SceneConfig(size=64)


def test_same_seed_same_scene():
    first, second = render_scene(5, CONFIG), render_scene(5, CONFIG)
    assert np.array_equal(first.rgb_HW3, second.rgb_HW3)
    assert np.array_equal(first.masks_MHW, second.masks_MHW)
    assert not np.array_equal(first.rgb_HW3, render_scene(6, CONFIG).rgb_HW3)


def test_layout():
    scene = render_scene(1, CONFIG)
    assert scene.rgb_HW3.shape == (64, 64, 3)
    assert scene.rgb_HW3.dtype == np.uint8
    assert scene.masks_MHW.shape[1:] == (64, 64)
    assert scene.masks_MHW.dtype == np.bool_
    assert len(scene.whole_M) == len(scene.masks_MHW)


def test_wholes_do_not_overlap_and_parts_lie_inside_one():
    found_parts = 0
    for seed in range(60):
        scene = render_scene(seed, CONFIG)
        wholes = scene.masks_MHW[scene.whole_M]
        assert wholes.sum(axis=0).max() == 1
        for part in scene.masks_MHW[~scene.whole_M]:
            inside = [bool((whole & part).sum() == part.sum()) for whole in wholes]
            assert sum(inside) == 1
            found_parts += 1
    assert found_parts > 20


def test_masks_are_large_enough_to_see():
    areas = [m.sum() for s in range(40) for m in render_scene(s, CONFIG).masks_MHW]
    assert min(areas) >= CONFIG.min_area


def test_masks_follow_the_picture():
    """With no camera and flat fills, a thing's colour changes at its edge more than inside it."""
    plain = SceneConfig(size=64, camera_probability=0.0, part_probability=0.0)
    across, within = [], []
    for seed in range(40):
        scene = render_scene(seed, plain)
        grey = scene.rgb_HW3.astype(np.float32).mean(axis=2)
        for mask in scene.masks_MHW:
            step = np.abs(np.diff(grey, axis=1))
            edge = mask[:, 1:] != mask[:, :-1]
            inside = mask[:, 1:] & mask[:, :-1]
            across.append(step[edge].mean())
            within.append(step[inside].mean())
    assert np.mean(across) > 3 * np.mean(within)


def test_photographs_are_cut_into_fills():
    # A colour that no other fill has.
    photo = np.zeros((40, 40, 3), dtype=np.uint8)
    photo[:] = (255, 0, 255)
    config = SceneConfig(size=64, photo_probability=1.0, camera_probability=0.0)
    scene = render_scene(3, config, photos=[photo])
    assert (scene.rgb_HW3 == (255, 0, 255)).all(axis=2).mean() > 0.1


def test_bad_values_are_named():
    with pytest.raises(ValueError, match="size is 8 px"):
        SceneConfig(size=8)
    with pytest.raises(ValueError, match="1 <= 5 <= 3"):
        SceneConfig(min_things=5, max_things=3)
