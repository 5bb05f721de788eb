"""Training as a whole: some hundred steps make a model that beats methods that learned nothing."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from sa_engine.dataset.reader import Dataset
from sa_engine.evaluation.baselines import GrabCut, RegionGrowing
from sa_engine.evaluation.model_segmenter import ModelSegmenter
from sa_engine.evaluation.points import PointsConfig, Score, evaluate_points
from sa_engine.evaluation.segmenters import Segmenter
from sa_engine.model.checkpoint import load_checkpoint, read_card
from sa_engine.model.predictor import Predictor
from sa_engine.model.weights import bundled_model
from sa_engine.training.data.scene_config import SceneConfig
from sa_engine.training.sam.config import RoundsConfig
from sa_engine.training.sam.recipes import scratch
from sa_engine.training.sam.session import TrainRequest, train_sam
from tests.support.scene_datasets import write_scenes

SIZE = 64
SCENES = SceneConfig(
    size=SIZE,
    min_things=2,
    max_things=4,
    texture_probability=1.0,
    photo_probability=0.0,
    part_probability=0.0,
    camera_probability=0.9,
    min_area=60,
)
"""A domain of its own: few textured things on textured grounds, through a poor camera."""


def test_a_few_hundred_steps_beat_the_baselines_on_new_scenes(tmp_path: Path):
    recipe = scratch()
    train = replace(
        recipe.train,
        variant=read_card(bundled_model()).variant,
        image_size=SIZE,
        steps=200,
        batch_images=4,
        prompts=replace(
            recipe.train.prompts, masks_per_image=6, box_probability=0.0, min_area=60.0
        ),
        rounds=RoundsConfig(rounds=1, mask_only_rounds=0, single_mask_first=0.3),
        optim=replace(recipe.train.optim, warmup_steps=20, ema_decay=0.98),
    )
    out = tmp_path / "domain.safetensors"
    request = TrainRequest(
        data=[],
        out=out,
        init=bundled_model(),
        recipe=replace(recipe, train=train, synthetic=1.0, scenes=SCENES),
    )
    train_sam(request)

    held_out = Dataset(
        write_scenes(tmp_path / "scenes", range(10**6, 10**6 + 30), size=SIZE, config=SCENES)
    )
    before, after = (
        ModelSegmenter(Predictor(load_checkpoint(path, image_size=SIZE)), name=name)
        for name, path in (("before", bundled_model()), ("after", out))
    )
    segmenters: list[Segmenter] = [before, after, RegionGrowing(), GrabCut()]
    config = PointsConfig(counts=(1,))
    scores: list[Score] = [
        score
        for part in evaluate_points(held_out, "scenes", segmenters=segmenters, config=config)
        for score in part
    ]
    own = {
        s.name: float(np.mean([score.own_iou for score in scores if score.method == s.name]))
        for s in segmenters
    }
    assert own["after"] > own["before"] + 0.01, own
    assert own["after"] > own["grabCut"] + 0.03, own
    assert own["after"] > own["region growing"] + 0.03, own
