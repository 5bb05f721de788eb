"""The models that ship inside the package, and a model by its name or file."""

import os
from dataclasses import dataclass
from pathlib import Path

import torch

from sa_engine.dataset.folder.local_copy import local_copy
from sa_engine.errors import UsageError
from sa_engine.model.bundled import DEFAULT_MODEL, DETECTOR_ENDING, WEIGHTS_DIR
from sa_engine.model.card import ModelCard
from sa_engine.model.checkpoint import load_checkpoint, read_card
from sa_engine.model.device import choose_device, choose_precision
from sa_engine.model.sam import Sam

__all__ = [
    "DEFAULT_MODEL",
    "DETECTOR_ENDING",
    "WEIGHTS_DIR",
    "BundledModel",
    "bundled_model",
    "find_model",
    "list_models",
    "load_model",
]


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


def find_model(name_or_path: str | os.PathLike[str] = DEFAULT_MODEL) -> Path:
    """The weights that a name of a model in the package, a path or a URL stands for.

    What has a suffix or is there is a file; anything else is a name. A file in an object store is
    fetched, once for each version of it.

    Raises UsageError for an unknown name, or if there is no such file.
    """
    text = os.fspath(name_or_path)
    path = Path(text)
    if "://" in text or path.suffix or path.exists():
        return local_copy(text)
    return bundled_model(text)


def load_model(
    name_or_path: str | os.PathLike[str] = DEFAULT_MODEL,
    *,
    device: str | torch.device = "auto",
    precision: str = "auto",
    image_size: int | None = None,
) -> Sam:
    """Load a model to use: put on a device, in a precision, with its card (`Sam.card`).

    name_or_path: the name of a model in the package, a weights file (the engine's .safetensors or a
        public .pth), or the URL of one.
    device: "auto", "cpu", "cuda", "cuda:1" or "mps"; "auto" takes a GPU when there is one.
    precision: "auto", "fp32", "bf16" or "fp16"; "auto" takes the fastest that the hardware has.
    image_size: another side of the model's square input, pixels, a multiple of 16 (lite: of 32).

    Raises UsageError for a name, file, device or precision that is not there, CheckpointError for a
    file that holds no model.
    """
    place = choose_device(device) if isinstance(device, str) else device
    sam = load_checkpoint(find_model(name_or_path), place, image_size=image_size)
    sam.set_precision(choose_precision(precision, place))
    return sam


def _names() -> list[str]:
    return [path.stem for path in _files()]


def _files() -> list[Path]:
    every = sorted(WEIGHTS_DIR.glob("*.safetensors"))
    return [path for path in every if not path.name.endswith(DETECTOR_ENDING)]
