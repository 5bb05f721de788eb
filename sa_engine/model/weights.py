"""The models that ship inside the package."""

from dataclasses import dataclass
from pathlib import Path

from sa_engine.errors import UsageError
from sa_engine.model.card import ModelCard
from sa_engine.model.checkpoint import read_card

DEFAULT_MODEL = "vit_t"
WEIGHTS_DIR = Path(__file__).parent / "weights"
DETECTOR_ENDING = "-detector.safetensors"
"""Of the file beside a model's, in which its box detector is."""


@dataclass(frozen=True, slots=True)
class BundledModel:
    """name: as `--model` takes it; path: its weights; card: what is known of it."""

    name: str
    path: Path
    card: ModelCard


def list_models() -> list[BundledModel]:
    """Every model in the package, by name."""
    return [BundledModel(path.stem, path, read_card(path)) for path in _files()]


def bundled_model(name: str = DEFAULT_MODEL) -> Path:
    """The weights of a model in the package.

    Raises UsageError, with the names there are, if it is not among them.
    """
    path = WEIGHTS_DIR / f"{name}.safetensors"
    if name not in _names():
        known = ", ".join(_names()) or "none in this installation"
        raise UsageError(
            f"unknown model {name!r}; bundled models: {known}. "
            "For weights of your own give their file with --checkpoint"
        )
    return path


def _names() -> list[str]:
    return [path.stem for path in _files()]


def _files() -> list[Path]:
    every = sorted(WEIGHTS_DIR.glob("*.safetensors"))
    return [path for path in every if not path.name.endswith(DETECTOR_ENDING)]
