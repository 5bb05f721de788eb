from pathlib import Path

import pytest

from sa_engine.errors import UsageError
from sa_engine.model import weights
from sa_engine.model.bundled import DEFAULT_MODEL
from sa_engine.model.card import ModelCard
from sa_engine.model.checkpoint import export_public, load_checkpoint, save_checkpoint
from sa_engine.model.variants import build_sam
from sa_engine.model.weights import bundled_model, find_model, list_models, load_model

MAX_BYTES = 25 * 2**20


def test_unknown_model() -> None:
    with pytest.raises(UsageError, match=r"unknown model 'vit_x'; bundled models: .* --checkpoint"):
        bundled_model("vit_x")


def test_names_are_not_paths() -> None:
    with pytest.raises(UsageError, match="unknown model"):
        bundled_model(f"../weights/{DEFAULT_MODEL}")


@pytest.mark.skipif(
    not any(weights.WEIGHTS_DIR.glob("*")), reason="no weights in this checkout yet"
)
def test_bundled_models_load() -> None:
    assert DEFAULT_MODEL in [model.name for model in list_models()]
    for model in list_models():
        assert model.path.stat().st_size < MAX_BYTES
        assert bundled_model(model.name) == model.path
        sam = load_checkpoint(model.path)
        assert (sam.variant, sam.image_size) == (model.card.variant, model.card.image_size)
        assert model.card.data


def test_a_model_by_name_or_file(tmp_path: Path) -> None:
    assert find_model(DEFAULT_MODEL) == bundled_model(DEFAULT_MODEL)
    file = tmp_path / "mine.safetensors"
    card = ModelCard(name="mine", variant="vit_t", image_size=64, pred_iou_thresh=0.4)
    save_checkpoint(build_sam("vit_t", 64), file, card)
    for given in (file, str(file)):
        sam = load_model(given, device="cpu", precision="fp32")
        assert (sam.image_size, sam.card, sam.training) == (64, card, False)
    assert load_model(file, device="cpu", image_size=128).image_size == 128
    with pytest.raises(UsageError, match="there is no weights file"):
        load_model(tmp_path / "none.safetensors")
    with pytest.raises(UsageError, match="unknown model 'vit_x'"):
        load_model("vit_x")
    with pytest.raises(UsageError, match="unknown device 'tpu'"):
        load_model(device="tpu")


def test_a_public_file_has_a_card_of_what_its_tensors_tell(tmp_path: Path) -> None:
    export_public(build_sam("vit_t", 64), tmp_path / "mobile.pth")
    card = load_checkpoint(tmp_path / "mobile.pth").card
    assert card is not None and (card.name, card.pred_iou_thresh) == ("mobile", 0.88)
