"""What made a dataset, found again by what its manifest says: model files, arithmetic."""

from pathlib import Path

import torch

from sa_engine.dataset.folder.base import open_folder, sha256_of
from sa_engine.dataset.manifest import ModelRef, is_dataset, read_manifest
from sa_engine.errors import UsageError
from sa_engine.model.device import DTYPES, choose_precision
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


def precision_of_run(asked: str, device: torch.device, out: Path | str) -> str:
    """The arithmetic of a run: what is asked for; for "auto" that of the dataset that is there.

    So nodes of a cluster that have different hardware continue one dataset.

    asked: "auto", "fp32", "bf16" or "fp16". out: the dataset's folder, new or to be continued.

    Raises UsageError if the device does not compute in it.
    """
    begun = None
    if asked == "auto" and is_dataset(out):
        begun = read_manifest(open_folder(out)).options.get("precision")
    try:
        dtype = choose_precision(asked if begun is None else str(begun), device)
    except UsageError as error:
        if begun is None:
            raise
        raise UsageError(
            f"{out} was begun with --precision {begun}, and {error}; what all machines of a run "
            "have is --precision fp32, given when it is begun"
        ) from error
    return next(name for name, each in DTYPES.items() if each is dtype)


def file_digest(path: Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return sha256_of(file)
