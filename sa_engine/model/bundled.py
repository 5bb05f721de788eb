"""The weights in the package, as far as they are known without loading torch."""

from pathlib import Path

from safetensors import safe_open

from sa_engine.model.card import CARD_KEY, ModelCard

DEFAULT_MODEL = "lite2"
WEIGHTS_DIR = Path(__file__).parent / "weights"
DETECTOR_ENDING = "-detector.safetensors"
"""Of the file beside a model's, in which its box detector is."""


def bundled_card(name: str = DEFAULT_MODEL) -> ModelCard | None:
    """The card of a model in the package; None if it is not there."""
    path = WEIGHTS_DIR / f"{name}.safetensors"
    if not path.is_file():
        return None
    with safe_open(path, "np") as file:
        return ModelCard.from_json(file.metadata()[CARD_KEY])
