import pytest

from sa_engine.errors import UsageError
from sa_engine.model import weights
from sa_engine.model.checkpoint import load_checkpoint
from sa_engine.model.weights import bundled_model, list_models

MAX_BYTES = 25 * 2**20


def test_unknown_model() -> None:
    with pytest.raises(UsageError, match=r"unknown model 'vit_x'; bundled models: .* --checkpoint"):
        bundled_model("vit_x")


def test_names_are_not_paths() -> None:
    with pytest.raises(UsageError, match="unknown model"):
        bundled_model("../weights/vit_t")


@pytest.mark.skipif(
    not any(weights.WEIGHTS_DIR.glob("*")), reason="no weights in this checkout yet"
)
def test_bundled_models_load() -> None:
    assert "vit_t" in [model.name for model in list_models()]
    for model in list_models():
        assert model.path.stat().st_size < MAX_BYTES
        assert bundled_model(model.name) == model.path
        sam = load_checkpoint(model.path)
        assert (sam.variant, sam.image_size) == (model.card.variant, model.card.image_size)
        assert model.card.data
