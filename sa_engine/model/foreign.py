"""Weights files of other programs (.pth, .pt): unwrapped where that is sure, else named.

Training programs wrap a state dict in further dicts and put a prefix before each name. What cannot
be taken (TorchScript, adapters, other layouts) is refused with what it is and how to save it again.
"""

import math
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sa_engine.errors import CheckpointError

WRAPPERS = ("model", "state_dict", "model_state_dict", "model_state", "module", "net", "ema")
"""Members that hold the state dict, the most likely first; others are taken if they are alone."""

MOST_UNFOLDED = 4
"""Bytes of tensors to a byte of the file: weights of one file hardly repeat themselves."""

_FREE_BYTES = 1 << 20
_DEEPEST = 4
_PARTS = ("image_encoder.", "prompt_encoder.", "mask_decoder.")
_ADAPTERS = ("lora_", ".linear_a_q.", ".linear_b_q.", "w_a_", "w_b_", ".adapter")

_AS_SAVED = "torch.save(model.state_dict(), 'weights.pth')"


def read_foreign(path: Path) -> dict[str, Tensor]:
    """The state dict in a file that `torch.save` wrote, names without a wrapper's prefix.

    Raises CheckpointError if it holds none, or one that is not whole in itself.
    """
    num_bytes = _check_archive(path)
    content = _load(path)
    found = _state_dicts(content)
    if not found:
        raise CheckpointError(f"{path} holds a {type(content).__name__} without tensors by name")
    where, tensors = _choose(found, path)
    tensors = {name: tensor for name, tensor in tensors.items() if isinstance(tensor, Tensor)}
    odd = [name for name, tensor in tensors.items() if not _is_plain(tensor)]
    if odd:
        raise CheckpointError(
            f"{path} has {len(odd)} tensors that are quantised, sparse, complex or without data "
            f"({odd[0]}): save the plain weights with {_AS_SAVED}"
        )
    unfolded = sum(math.prod(t.shape) * t.element_size() for t in tensors.values())
    if unfolded > MOST_UNFOLDED * num_bytes + _FREE_BYTES:
        raise CheckpointError(
            f"{path} has {num_bytes} bytes and unfolds to {unfolded}, over the limit of "
            f"{MOST_UNFOLDED} to one: it is no file of trained weights"
        )
    named = f"{path}, member {where!r}" if where else f"{path}"
    return _without_prefix(tensors, named)


def what_else(names: list[str]) -> str | None:
    """What a state dict is that does not fit, and how to save it again; None if nobody knows."""
    if any(name.startswith("vision_encoder.") for name in names):
        return (
            "it has the names of the transformers library (SamModel): give the .pth file that the "
            "model's authors published, or rename its tensors to that file's names"
        )
    adapters = [name for name in names if any(mark in name for mark in _ADAPTERS)]
    if adapters:
        return (
            f"it has {len(adapters)} tensors of a LoRA or adapter ({adapters[0]}): merge them into "
            f"the model first (peft: model = model.merge_and_unload()), then {_AS_SAVED}"
        )
    if any(name.startswith(("image_encoder.trunk.", "memory_attention.")) for name in names):
        return "it is a model of the second generation (SAM 2), which this engine does not run"
    return None


def _check_archive(path: Path) -> int:
    """The file's bytes. CheckpointError for a zip that unfolds, or that is a TorchScript archive.

    Asked before torch reads it, which would unfold whatever is there.
    """
    num_bytes = path.stat().st_size
    if not zipfile.is_zipfile(path):
        return num_bytes
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise CheckpointError(f"{path} is a damaged archive ({error})") from error
    names = [member.filename for member in members]
    if any(name.endswith("/constants.pkl") or "/code/" in name for name in names):
        raise CheckpointError(
            f"{path} is a TorchScript archive, a compiled program: save its weights with "
            "torch.save(torch.jit.load(path).state_dict(), 'weights.pth') and give that file"
        )
    unfolded = sum(member.file_size for member in members)
    if unfolded > MOST_UNFOLDED * num_bytes + _FREE_BYTES:
        raise CheckpointError(
            f"{path} has {num_bytes} bytes and unfolds to {unfolded}, over the limit of "
            f"{MOST_UNFOLDED} to one: it is no file of trained weights"
        )
    return num_bytes


def _load(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # A forged pickle raises nearly anything.
        lines = str(error).strip().splitlines()
        reason = lines[0] if lines and " " in lines[0] else f"a {type(error).__name__} inside"
        if "weights_only" in str(error) or type(error).__name__ == "UnpicklingError":
            # torch's own words advise to load it with the safeguard off.
            reason = "it holds other things than tensors, or is no such file at all"
        raise CheckpointError(
            f"{path} is not a readable file of weights ({reason}). "
            f"Expected a .pth or .pt state dict ({_AS_SAVED}), or safetensors"
        ) from error


def _state_dicts(content: Any) -> list[tuple[str, Mapping[Any, Any]]]:
    """Every mapping that holds tensors itself, with the members that lead to it, each once."""
    found: list[tuple[str, Mapping[Any, Any]]] = []
    seen: set[int] = set()

    def look_into(value: Any, where: str, depth: int) -> None:
        if not isinstance(value, Mapping) or depth > _DEEPEST or id(value) in seen:
            return
        seen.add(id(value))
        if any(isinstance(item, Tensor) for item in value.values()):
            found.append((where, value))
        for key, item in value.items():
            look_into(item, f"{where}.{key}" if where else str(key), depth + 1)

    look_into(content, "", 0)
    return found


def _choose(found: list[tuple[str, Mapping[Any, Any]]], path: Path) -> tuple[str, dict[str, Any]]:
    """The state dict of a model; of several, by `WRAPPERS`."""
    named = [(where, {str(k): v for k, v in each.items()}) for where, each in found]
    models = [each for each in named if _prefixes(each[1])]
    if len(models) < 2:
        return max(models or named, key=lambda each: len(each[1]))
    for wrapper in ("", *WRAPPERS):
        chosen = [each for each in models if each[0].rpartition(".")[2] == wrapper]
        if len(chosen) == 1:
            return chosen[0]
    members = ", ".join(where or "the file itself" for where, _ in models)
    raise CheckpointError(
        f"{path} holds several models ({members}): save the one that is meant with {_AS_SAVED}"
    )


def _is_plain(tensor: Tensor) -> bool:
    dense = tensor.layout == torch.strided and tensor.device.type == "cpu"
    return dense and not tensor.is_quantized and not tensor.is_complex()


def _prefixes(tensors: Mapping[str, Any]) -> list[str]:
    """What stands before "image_encoder.", each once."""
    ends = ((name, name.find(_PARTS[0])) for name in tensors)
    return list(dict.fromkeys(name[:end] for name, end in ends if end >= 0))


def _without_prefix(tensors: Mapping[str, Tensor], named: str) -> dict[str, Tensor]:
    prefixes = _prefixes(tensors)
    if len(prefixes) > 1:
        shown = ", ".join(repr(prefix) for prefix in prefixes[:3])
        raise CheckpointError(
            f"{named} holds several image encoders, named with {shown} in front: save the one "
            f"model that is meant with {_AS_SAVED}"
        )
    prefix = prefixes[0] if prefixes else ""
    if not prefix:
        return {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
    # What has another prefix (a loss, a teacher's head) is no part of the model.
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }
