"""Embeddings on disk: the encoder's process writes them, the decoder reads them."""

import os
from pathlib import Path

import safetensors.torch

from sa_engine.errors import DamagedError
from sa_engine.model.embedding import ImageEmbedding

MODEL_KEY = "model"
"""Entry of an embedding file's metadata: the SHA-256 of the model that made it."""


def write_embedding(path: Path, embedding: ImageEmbedding, *, model: str) -> None:
    """Keep an embedding; the file appears at once or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    maps = {str(place): each.contiguous().cpu() for place, each in enumerate(embedding.maps)}
    safetensors.torch.save_file(maps, temporary, metadata={MODEL_KEY: model})
    temporary.replace(path)


def read_embedding(path: Path, *, model: str) -> ImageEmbedding:
    """An embedding that was kept.

    Raises FileNotFoundError, DamagedError if it is no such file or another model's.
    """
    try:
        with safetensors.safe_open(path, "pt") as file:
            if (file.metadata() or {}).get(MODEL_KEY) != model:
                raise DamagedError(f"{path} is another model's embedding: remove it")
            return ImageEmbedding(*(file.get_tensor(key) for key in sorted(file.keys())))
    except (safetensors.SafetensorError, ValueError) as error:
        raise DamagedError(f"{path} is no embedding: {error}") from error
