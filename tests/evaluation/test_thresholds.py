"""Playing the filters of everything mode through on judged masks."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sa_engine.dataset.reader import Dataset
from sa_engine.dataset.records import MaskRecord, Stage
from sa_engine.evaluation.thresholds import JudgedImage, judge, play_through, recommend
from tests.support.scene_datasets import write_scenes

# Three masks far apart and a duplicate of the first that the model likes less. The first two are
# known objects, the third is a mistake with a predicted IoU of 0.5; one known object is missed.
IMAGE = JudgedImage(
    boxes_P4=np.array([[0, 0, 10, 10], [20, 20, 30, 30], [40, 40, 50, 50], [0, 0, 10, 10]]) * 1.0,
    predicted_iou_P=np.array([0.9, 0.7, 0.5, 0.8]),
    stability_P=np.array([0.95, 0.72, 0.95, 0.95]),
    ious_PG=np.array([[0.8, 0.0, 0.0], [0.0, 0.6, 0.0], [0.0, 0.0, 0.1], [0.7, 0.0, 0.0]]),
)


def test_every_pair_is_played_as_the_generator_would():
    played = {
        (o.pred_iou_thresh, o.stability_score_thresh): (o.masks_per_image, o.precision, o.recall)
        for o in play_through([IMAGE])
    }
    assert played[0.4, 0.0][0] == 3
    assert played[0.4, 0.0][1:] == pytest.approx((2 / 3, 2 / 3))
    assert played[0.6, 0.0][:2] == (2, 1.0)
    assert played[0.6, 0.0][2] == pytest.approx(2 / 3)
    assert played[0.8, 0.0][:2] == (1, 1.0)
    assert played[0.8, 0.0][2] == pytest.approx(1 / 3)
    # Stability 0.8 drops the second mask.
    assert played[0.4, 0.8][:2] == (2, 0.5)
    assert played[0.4, 0.8][2] == pytest.approx(1 / 3)
    # At IoU 0.7 the second is no match.
    strict = play_through([IMAGE], match_iou=0.7)
    assert max(o.recall for o in strict) == pytest.approx(1 / 3)


def test_the_best_f_score_is_recommended():
    best = recommend(play_through([IMAGE]))
    assert (best.pred_iou_thresh, best.stability_score_thresh) == (0.68, 0.7)
    assert best.f_half == pytest.approx(1.25 * 2 / 3 / (0.25 + 2 / 3))


def test_precision_comes_before_recall():
    # One right mask of four, then one of one; the first pair finds more.
    loose = replace(play_through([IMAGE])[0], precision=0.45, recall=0.9, f_half=0.5)
    strict = replace(loose, precision=0.6, recall=0.1, f_half=0.3)
    assert recommend([loose, strict]) is strict
    assert recommend([loose, strict], min_precision=0.7) is loose


def test_known_masks_themselves_are_right(tmp_path: Path):
    dataset = Dataset(write_scenes(tmp_path / "scenes", range(2)))
    records = list(dataset.images())
    pictures = [dataset.read_rgb(r) for r in records]

    def generate(rgb_HW3: np.ndarray) -> list[MaskRecord]:
        (index,) = [i for i, p in enumerate(pictures) if np.array_equal(p, rgb_HW3)]
        return [
            replace(m, stage=Stage.AUTOMATIC, predicted_iou=0.9, stability_score=1.0)
            for m in records[index].annotations
        ]

    images = list(judge(dataset, "scenes", generate=generate))
    assert [i.ious_PG.shape[1] for i in images] == [len(r.annotations) for r in records]
    best = recommend(play_through(images, nms_iou=1.0))
    assert (best.precision, best.recall) == (1.0, 1.0)
