"""The files that made a dataset, found again by what its manifest says of them."""

from pathlib import Path

from sa_engine.dataset.folder.base import sha256_of
from sa_engine.dataset.manifest import ModelRef
from sa_engine.errors import UsageError
from sa_engine.model.weights import list_models


def checked_model(model: ModelRef, checkpoint: Path | None) -> Path:
    """The weights that a manifest names.

    checkpoint: their file; None to look among the models that come with the engine.

    Raises UsageError if they are not to be found, or if the file is another one.
    """
    if checkpoint is None:
        found = (each.path for each in list_models() if file_digest(each.path) == model.sha256)
        path = next(found, None)
        if path is None:
            raise UsageError(
                f"the model that made the masks, {model.name}, does not come with this engine: "
                f"give its file with --checkpoint; its SHA-256 is {model.sha256}"
            )
        return path
    sha256 = file_digest(checkpoint)
    if sha256 != model.sha256:
        raise UsageError(
            f"{checkpoint} has SHA-256 {sha256}, but {model.name}, which made the masks, has "
            f"{model.sha256}: give that file with --checkpoint"
        )
    return checkpoint


def file_digest(path: Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return sha256_of(file)
