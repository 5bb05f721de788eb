"""Whole runs: from datasets to a detector's file that finds shapes."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sa_engine.dataset.reader import Dataset
from sa_engine.dataset.records import Stage
from sa_engine.detection.boxes import BoxFilter
from sa_engine.detection.config import DetectorConfig
from sa_engine.detection.encoder import encoder_digest
from sa_engine.detection.file import (
    build_detector,
    load_detector,
    read_detector_card,
    save_detector,
)
from sa_engine.detection.finder import BoxFinder
from sa_engine.errors import UsageError
from sa_engine.masks.boxes import iou_matrix, xywh_to_xyxy
from sa_engine.model.checkpoint import load_checkpoint
from sa_engine.model.sam import Sam
from sa_engine.model.weights import bundled_model
from sa_engine.training.data.scene_config import SCENES
from sa_engine.training.detector.config import DetectorOptimConfig, DetectorTrainConfig
from sa_engine.training.detector.report import DetectorReport
from sa_engine.training.detector.session import (
    DetectorRequest,
    open_detector_data,
    train_detector,
)
from tests.support.scene_datasets import write_scenes
from tests.support.small_sam import small_sam

FLAT = replace(SCENES["easy"], size=64, min_area=40, max_things=4, part_probability=0.0)
"""A few flat shapes on a plain ground."""


@pytest.fixture(scope="module")
def sam() -> Sam:
    torch.manual_seed(0)
    return small_sam(64).eval()


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scenes(tmp_path_factory.mktemp("sets") / "scenes", range(24), config=FLAT)


def config(**changes: Any) -> DetectorTrainConfig:
    small = DetectorTrainConfig(
        steps=2,
        batch_images=4,
        views=2,
        net=DetectorConfig(channels=32),
        optim=DetectorOptimConfig(warmup_steps=5, ema_decay=0.9, lr=5e-3),
    )
    return replace(small, **changes)


def recall(finder: BoxFinder, dataset: Dataset) -> float:
    """Share of the shapes that one of a picture's first ten boxes fits with an IoU of 0.5.

    The ground behind them, which any large box fits, does not count.
    """
    hits = []
    for record in dataset:
        image = finder.encode(dataset.read_rgb(record))
        found = finder.find(image, BoxFilter(max_boxes=10))
        shapes = [m.bbox_xywh for m in record.annotations if m.area < 64 * 64 / 3]
        known = xywh_to_xyxy(np.array(shapes).reshape(-1, 4))
        hits += (iou_matrix(found.boxes_xyxy_N4, known).max(axis=0) >= 0.5).tolist()
    return float(np.mean(hits))


def test_dozens_of_steps_find_flat_shapes(scenes: Path, tmp_path: Path):
    # An encoder that has learned something, at a small size.
    sam = load_checkpoint(bundled_model(), image_size=64)
    out = tmp_path / "flat.safetensors"
    request = DetectorRequest(
        sam=sam, model_name="small", data=[scenes], out=out, config=config(steps=100)
    )
    reports: list[DetectorReport] = []
    card = train_detector(request, report=reports.append)
    assert read_detector_card(out) == card
    assert (card.name, card.model, card.variant, card.image_size) == (
        "flat",
        "small",
        sam.variant,
        64,
    )
    assert card.encoder_sha256 == encoder_digest(sam)
    assert card.data[0].startswith("scenes: 24 images, ")
    assert card.options["optim.lr"] == 5e-3
    assert card.results["training_loss"] > 0
    assert reports[-1].step == 100
    torch.manual_seed(0)
    before = recall(BoxFinder(sam, build_detector(config().net, sam).eval()), Dataset(scenes))
    after = recall(BoxFinder(sam, load_detector(out, sam)), Dataset(scenes))
    assert after > 0.4 and after > before + 0.15, (before, after)
    # Finished: the same command again changes nothing, whatever was measured meanwhile.
    known = replace(card, results={"ar_100": 0.5}, box_score_thresh=0.17)
    save_detector(load_detector(out, sam), out, known)
    content = out.read_bytes()
    assert train_detector(request) == known
    assert out.read_bytes() == content
    assert not list(request.run_folder.glob("maps-*"))
    with pytest.raises(UsageError, match="is a folder"):
        train_detector(replace(request, out=tmp_path))


def test_weights_by_set_and_stage(sam: Sam, scenes: Path, tmp_path: Path):
    more = write_scenes(tmp_path / "more", range(4), stage=Stage.AUTOMATIC)

    def weights(**given: float) -> list[float]:
        request = DetectorRequest(
            sam=sam,
            model_name="small",
            data=[scenes, more],
            out=tmp_path / "o",
            config=config(views=0),
            weights=given,
        )
        detector = build_detector(config().net, sam)
        return open_detector_data(request, detector, "digest").weights

    assert weights() == pytest.approx([24**0.5, 2])
    assert weights(more=5.0) == pytest.approx([24**0.5, 5.0])
    assert weights(manual=10.0) == pytest.approx([10 * 24**0.5, 2.0])
    with pytest.raises(UsageError, match="every set has weight 0"):
        weights(more=0.0, scenes=0.0)


def test_few_views_are_kept_where_room_is_scarce(sam: Sam, scenes: Path, tmp_path: Path):
    # A picture's maps take 2 bytes for 32·16² + 48·8² + 64·4² values: 24,576 bytes.
    room = 24 * 3.5 * 24_576 / 2**30
    for views, keep, expected in ((8, 16.0, 8), (8, room, 3), (8, room / 8, 0)):
        request = DetectorRequest(
            sam=sam,
            model_name="small",
            data=[scenes],
            out=tmp_path / "o",
            config=config(views=views, keep_gib=keep),
        )
        data = open_detector_data(request, build_detector(config().net, sam), "digest")
        assert data.sources[0].views == expected
        assert (data.bank is None) == (expected == 0)


def test_bad_data_is_refused_before_the_first_step(sam: Sam, scenes: Path, tmp_path: Path):
    empty = write_scenes(tmp_path / "empty", range(2), min_area=10**9)

    def train(*data: Path, **weights: float) -> None:
        out = tmp_path / "out.safetensors"
        train_detector(
            DetectorRequest(
                sam=sam, model_name="s", data=data, out=out, config=config(), weights=weights
            )
        )

    with pytest.raises(UsageError, match="empty holds no image with masks"):
        train(empty)
    with pytest.raises(UsageError, match="no --data"):
        train()
    with pytest.raises(UsageError, match="'scene', which is neither a set nor a stage"):
        train(scenes, scene=1.0)
    assert not (tmp_path / "out.safetensors").exists()


def test_a_run_with_other_options_is_refused(sam: Sam, scenes: Path, tmp_path: Path):
    out = tmp_path / "d.safetensors"
    request = DetectorRequest(sam=sam, model_name="s", data=[scenes], out=out, config=config())
    train_detector(request)
    assert sorted(p.name for p in (tmp_path / "d.safetensors.run").iterdir()) == [
        "lock",
        "metrics.jsonl",
        "state.pt",
    ]
    with pytest.raises(UsageError, match="other options or data"):
        train_detector(replace(request, config=config(steps=3)))


def test_a_run_starts_from_the_detector_of_another_encoder(sam: Sam, scenes: Path, tmp_path: Path):
    torch.manual_seed(9)
    before = small_sam(64).eval()
    first, second = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    request = DetectorRequest(
        sam=before, model_name="s", data=[scenes], out=first, config=config(views=0)
    )
    train_detector(request)
    still = config(views=0, optim=DetectorOptimConfig(lr=1e-12, ema_decay=0))
    train_detector(replace(request, sam=sam, out=second, init=first, config=still))
    one, other = load_detector(first, before).state_dict(), load_detector(second, sam).state_dict()
    for name, value in one.items():
        assert torch.allclose(value, other[name], atol=1e-3), name
    wider = config(views=0, net=DetectorConfig(channels=16))
    third = replace(request, out=tmp_path / "third", init=first, config=wider)
    with pytest.raises(UsageError, match=r"has channels 32, .* the run wants channels 16"):
        train_detector(third)
