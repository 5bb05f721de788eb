"""Detectors on disk, and the encoder that they insist on."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from sa_engine.detection.card import DetectorCard
from sa_engine.detection.config import DetectorConfig
from sa_engine.detection.encoder import encoder_digest
from sa_engine.detection.file import (
    build_detector,
    bundled_detector,
    is_detector,
    load_detector,
    net_options,
    read_detector_card,
    save_detector,
)
from sa_engine.errors import CheckpointError, UsageError
from sa_engine.model.card import ModelCard
from sa_engine.model.checkpoint import load_checkpoint, save_checkpoint
from sa_engine.model.sam import Sam
from sa_engine.model.variants import build_sam
from sa_engine.model.weights import list_models
from tests.support.small_sam import small_sam

NET = DetectorConfig(channels=8, head_layers=1)


@pytest.fixture
def sam() -> Sam:
    torch.manual_seed(0)
    return small_sam(32).eval()


@pytest.fixture
def saved(sam: Sam, tmp_path: Path) -> Path:
    torch.manual_seed(1)
    path = tmp_path / "deep" / "detector.safetensors"
    save_detector(build_detector(NET, sam), path, card_of(sam))
    return path


def card_of(sam: Sam) -> DetectorCard:
    return DetectorCard(
        name="small",
        model="tiny",
        variant=sam.variant,
        image_size=sam.image_size,
        encoder_sha256=encoder_digest(sam),
        net=net_options(NET),
        data=("a set: 3 images",),
        box_score_thresh=0.25,
    )


def test_a_detector_comes_back(sam: Sam, saved: Path):
    assert read_detector_card(saved) == card_of(sam)
    assert is_detector(saved)
    assert not is_detector(saved.with_name("none"))
    assert not is_detector(Path(__file__))
    loaded = load_detector(saved, sam)
    torch.manual_seed(1)
    made = build_detector(NET, sam).state_dict()
    for name, value in loaded.state_dict().items():
        assert value.dtype == torch.float32
        assert torch.equal(value, made[name].half().float()), name
    again = saved.with_name("again.safetensors")
    save_detector(loaded, again, card_of(sam))
    assert again.read_bytes() == saved.read_bytes()
    assert sorted(p.name for p in saved.parent.iterdir()) == [again.name, saved.name]


def test_another_encoder_is_one_clear_error(sam: Sam, saved: Path):
    with torch.no_grad():
        next(sam.image_encoder.parameters()).mul_(1.5)
    with pytest.raises(
        CheckpointError, match=r"belongs to another image encoder, that of 'tiny'.*train detector"
    ):
        load_detector(saved, sam)


def test_another_decoder_is_welcome(sam: Sam, saved: Path):
    with torch.no_grad():
        next(sam.mask_decoder.parameters()).mul_(1.5)
    load_detector(saved, sam)


def test_another_size_is_named(saved: Path):
    with pytest.raises(CheckpointError, match="for a vit_t at 32 px, this model is a vit_t at 64"):
        load_detector(saved, small_sam(64))


def test_files_that_hold_no_detector(sam: Sam, tmp_path: Path):
    with pytest.raises(UsageError, match="there is no detector"):
        load_detector(tmp_path / "none", sam)
    with pytest.raises(UsageError, match="is a folder"):
        load_detector(tmp_path, sam)
    text = tmp_path / "text"
    text.write_text("hello")
    with pytest.raises(CheckpointError, match="not a readable safetensors"):
        load_detector(text, sam)
    model = tmp_path / "model.safetensors"
    whole = build_sam("vit_t", image_size=32)
    save_checkpoint(whole, model, ModelCard(name="m", variant="vit_t", image_size=32))
    with pytest.raises(CheckpointError, match="holds no detector"):
        load_detector(model, sam)


def test_a_network_that_the_card_does_not_describe(sam: Sam, tmp_path: Path):
    path = tmp_path / "odd.safetensors"
    wrong = replace(card_of(sam), net={"channels": 16})
    save_detector(build_detector(NET, sam), path, wrong)
    with pytest.raises(CheckpointError, match=r"missing or misshapen .* and \d+ more"):
        load_detector(path, sam)
    unknown = replace(card_of(sam), net={"colour": "red"})
    save_detector(build_detector(NET, sam), path, unknown)
    with pytest.raises(CheckpointError, match="colour"):
        load_detector(path, sam)


def test_a_card_s_threshold_is_a_share():
    with pytest.raises(ValueError, match=r"box_score_thresh is 1\.5"):
        DetectorCard(
            name="", model="", variant="", image_size=1, encoder_sha256="", box_score_thresh=1.5
        )
    with pytest.raises(CheckpointError, match="card is damaged"):
        DetectorCard.from_json("[]")


def test_every_model_in_the_package_has_its_detector():
    for model in list_models():
        path = bundled_detector(model.name)
        assert path is not None, "benchmarks/bundled_detector.sh makes it, after every new model"
        load_detector(path, load_checkpoint(model.path))
        assert path.stat().st_size < 8 * 2**20
    assert bundled_detector("no such model") is None
