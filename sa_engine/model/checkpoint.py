"""Weights on disk: the public checkpoints (.pth, .pt) and the engine's own safetensors.

Public layouts: the state dicts of "Segment Anything" (vit_b, vit_l, vit_h) and MobileSAM (vit_t).
The engine's file is safetensors with the same names and one metadata entry, a `ModelCard`.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from sa_engine.dataset.folder.draft import written_whole
from sa_engine.errors import CheckpointError, UsageError
from sa_engine.model.card import CARD_KEY, MOST_IMAGE_SIZE, ModelCard
from sa_engine.model.foreign import read_foreign, what_else
from sa_engine.model.sam import Sam
from sa_engine.model.sizes import IMAGE_SIZE, LITE_SIZES, VARIANTS, VIT_SIZES
from sa_engine.model.variants import build_sam

SHOWN = 4
"""Tensors named per kind of disagreement in an error; the rest are counted."""

UNUSED = (
    "image_encoder.head.",
    "image_encoder.norm_head.",
    "pixel_mean",
    "pixel_std",
)
"""Beginnings of names that some public files carry and the model has no use for."""

_POSITIONS = "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"
_POS_EMBED = "image_encoder.pos_embed"
_TINY_VIT_FIRST = "image_encoder.patch_embed.seq.0.c.weight"
_LITE_FIRST = "image_encoder.backbone.stem.conv.weight"
_HEAD_CLASSES = 1000
_IMAGE_SIZES = range(16, MOST_IMAGE_SIZE + 1, 16)
_IS_IT_WHOLE = "Is it complete, and meant for this model?"


def load_checkpoint(
    path: Path | str, device: torch.device | str = "cpu", *, image_size: int | None = None
) -> Sam:
    """Load a model for inference, float32, whatever the file's format.

    The variant is found from the tensors, `card` is the file's. `image_size` asks for another input
    size, pixels; a ViT's position tables are then interpolated. Without it: the size that the
    weights were made for.

    Raises UsageError if there is no such file, CheckpointError if it does not hold a model.
    """
    path = Path(path)
    tensors, card = _read(path)
    variant, native_size = _identify(tensors, card, path)
    sam, tensors = _fitted(tensors, variant, native_size, image_size or native_size, path)
    check_finite(tensors, path)
    expected = sam.state_dict()
    # Weights may be stored in any precision; batch normalisation's counters are integers.
    state = {name: tensor.to(expected[name].dtype) for name, tensor in tensors.items()}
    sam.load_state_dict(state, assign=True)
    sam.card = card or _made_up_card(path, variant, native_size)
    return sam.to(device).eval()


def read_card(path: Path | str) -> ModelCard:
    """The card of a model; for a public file one made from what its tensors tell.

    Raises UsageError if there is no such file, CheckpointError if it does not hold a model.
    """
    path = Path(path)
    if _is_safetensors(path):
        card = _stored_card(path)
        if card is not None:
            return card
    tensors, _ = _read(path)
    variant, size = _identify(tensors, None, path)
    _fitted(tensors, variant, size, size, path)
    return _made_up_card(path, variant, size)


def check_finite(tensors: Mapping[str, Tensor], path: Path) -> None:
    """CheckpointError if a weight is NaN or infinite: such a model finds nothing, silently."""
    counts = {
        name: tensor.numel() - int(tensor.float().isfinite().sum())
        for name, tensor in tensors.items()
        if tensor.is_floating_point()
    }
    broken = {name: count for name, count in counts.items() if count}
    if broken:
        raise CheckpointError(
            f"{path} has {sum(broken.values())} weights that are NaN or infinite, in "
            f"{len(broken)} of {len(tensors)} tensors ({_shorten(broken)}): the training that "
            "wrote it had diverged; give an earlier checkpoint"
        )


def save_checkpoint(
    sam: Sam, path: Path | str, card: ModelCard, dtype: torch.dtype = torch.float16
) -> None:
    """Write the engine's own file, whole or not at all; same model and card, same bytes.

    dtype: of the weights. Batch normalisation's statistics, the positions' matrix and what float16
        cannot hold stay float32.
    """
    if (card.variant, card.image_size) != (sam.variant, sam.image_size):
        raise ValueError(
            f"the card says {card.variant} at {card.image_size}, "
            f"the model is {sam.variant} at {sam.image_size}"
        )
    tensors = {name: _shrunk(name, t, dtype) for name, t in sam.state_dict().items()}
    # One metadata entry: the writer puts several in no fixed order.
    data = safetensors.torch.save(tensors, metadata={CARD_KEY: card.to_json()})
    with written_whole(Path(path)) as draft:
        draft.write_bytes(data)


def export_public(sam: Sam, path: Path | str) -> None:
    """Write a float32 .pth that the public code of the same variant loads.

    MobileSAM's loader insists on the classifier that its encoder was pretrained with and never
    uses; for vit_t a blank one is written.

    Raises UsageError for a variant that no public code knows.
    """
    if sam.variant in LITE_SIZES:
        raise UsageError(
            f"the public .pth layouts do not know {sam.variant}; "
            "give a file that ends in .safetensors"
        )
    tensors = {
        name: t.detach().cpu().float() if t.is_floating_point() else t.detach().cpu()
        for name, t in sam.state_dict().items()
    }
    if sam.variant == "vit_t":
        width = tensors["image_encoder.neck.0.weight"].shape[1]
        tensors["image_encoder.norm_head.weight"] = torch.ones(width)
        tensors["image_encoder.norm_head.bias"] = torch.zeros(width)
        tensors["image_encoder.head.weight"] = torch.zeros(_HEAD_CLASSES, width)
        tensors["image_encoder.head.bias"] = torch.zeros(_HEAD_CLASSES)
    with written_whole(Path(path)) as draft:
        save_torch(tensors, draft)


def save_torch(content: Any, path: Path) -> None:
    """Write a file as `torch.save` does, and wait until the disk has it.

    Raises OSError where it cannot be written; torch has an error of its own for a full disk.
    """
    with path.open("wb") as file:
        try:
            torch.save(content, file)
        except RuntimeError as error:
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise
        file.flush()
        os.fsync(file.fileno())


def resize_positions(tensors: Mapping[str, Tensor], sam: Sam) -> dict[str, Tensor]:
    """Interpolate a ViT's position tables to the size that `sam` expects."""
    resized = dict(tensors)
    for name, expected in sam.state_dict().items():
        found = tensors.get(name)
        if found is None or found.shape == expected.shape:
            continue
        if name == _POS_EMBED and found.dim() == 4:
            x_1CHW = found.float().permute(0, 3, 1, 2)
            x_1CHW = F.interpolate(x_1CHW, tuple(expected.shape[1:3]), mode="bicubic")
            resized[name] = x_1CHW.permute(0, 2, 3, 1).contiguous()
        elif name.endswith((".rel_pos_h", ".rel_pos_w")) and found.dim() == 2:
            x_1DL = found.float().t()[None]
            resized[name] = (
                F.interpolate(x_1DL, expected.shape[0], mode="linear")[0].t().contiguous()
            )
    return resized


class _Uninitialised(TorchFunctionMode):
    """Modules built inside draw no random weights, which would only be overwritten."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        named = kwargs or {}
        is_init = getattr(func, "__module__", None) == nn.init.__name__
        if is_init or func in (Tensor.normal_, Tensor.uniform_):
            return args[0] if args else named["tensor"]
        return func(*args, **named)


def _read(path: Path) -> tuple[dict[str, Tensor], ModelCard | None]:
    if _is_safetensors(path):
        try:
            tensors = safetensors.torch.load_file(path)
        except (safetensors.SafetensorError, OSError, ValueError) as error:
            raise CheckpointError(f"{path} is not a readable safetensors file: {error}") from error
        card = _stored_card(path)
    else:
        tensors, card = read_foreign(path), None
    return {
        name: tensor
        for name, tensor in tensors.items()
        if not name.startswith(UNUSED) and not name.endswith(".attention_bias_idxs")
    }, card


def _fitted(
    tensors: dict[str, Tensor], variant: str, native_size: int, size: int, path: Path
) -> tuple[Sam, dict[str, Tensor]]:
    """A model without weights, and the tensors that fit it. CheckpointError if they do not.

    native_size, size: the input size that the tensors are made for and the one that is wanted.
    """
    with torch.device("meta"), _Uninitialised():
        sam = build_sam(variant, size, decoder_depth=_decoder_depth(tensors))
    if size != native_size:
        tensors = resize_positions(tensors, sam)
    problems = _disagreements(tensors, sam.state_dict())
    if problems:
        other = what_else(list(tensors))
        raise CheckpointError(
            f"{path} does not hold a whole {variant} model: {'; '.join(problems)}. "
            + (f"{other[0].upper()}{other[1:]}" if other else _IS_IT_WHOLE)
        )
    return sam, tensors


def _is_safetensors(path: Path) -> bool:
    """Told by content: eight bytes of header length, then a JSON object."""
    if path.is_dir():
        raise UsageError(f"{path} is a folder; give the weights file itself")
    try:
        with path.open("rb") as file:
            start = file.read(9)
    except FileNotFoundError as error:
        raise UsageError(f"there is no weights file {path}") from error
    except OSError as error:
        raise UsageError(f"the weights file {path} cannot be read: {error.strerror}") from error
    if not start:
        raise CheckpointError(f"{path} is empty; was its download cut short?")
    return start[8:9] == b"{"


def _stored_card(path: Path) -> ModelCard | None:
    try:
        with safetensors.safe_open(path, "pt") as file:
            metadata: Any = file.metadata()
    except (safetensors.SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is not a readable safetensors file: {error}") from error
    text = (metadata or {}).get(CARD_KEY)
    return None if text is None else ModelCard.from_json(text)


def _made_up_card(path: Path, variant: str, image_size: int) -> ModelCard:
    """The card of a file that has none."""
    return ModelCard(name=path.stem, variant=variant, image_size=image_size, engine_version="")


def _identify(tensors: Mapping[str, Tensor], card: ModelCard | None, path: Path) -> tuple[str, int]:
    """The variant and the input size that the tensors were made for."""
    if _TINY_VIT_FIRST in tensors:
        return "vit_t", card.image_size if card else IMAGE_SIZE
    if _LITE_FIRST in tensors:
        if card is None or card.variant not in LITE_SIZES:
            raise CheckpointError(
                f"{path} holds a lite image encoder without the card that tells its size; "
                "give the safetensors file that the engine wrote"
            )
        return card.variant, card.image_size
    pos_embed = tensors.get(_POS_EMBED)
    if pos_embed is not None and pos_embed.dim() == 4:
        for variant, size in VIT_SIZES.items():
            if size.width == pos_embed.shape[3] and pos_embed.shape[1] * 16 in _IMAGE_SIZES:
                return variant, pos_embed.shape[1] * 16
        known = ", ".join(f"{size.width} ({name})" for name, size in VIT_SIZES.items())
        raise CheckpointError(
            f"{path} holds an image encoder of width {pos_embed.shape[3]} with "
            f"{pos_embed.shape[1]} positions a side; known are {known}, from 1 to "
            f"{MOST_IMAGE_SIZE // 16}"
        )
    found = _shorten(tensors) if tensors else "nothing"
    other = what_else(list(tensors))
    raise CheckpointError(
        f"{path} holds no image encoder of a promptable segmentation model "
        f"({', '.join(VARIANTS)})" + (f": {other}" if other else f"; it holds {found}")
    )


def _decoder_depth(tensors: Mapping[str, Tensor]) -> int:
    start = "mask_decoder.transformer.layers."
    depths = {name.removeprefix(start).split(".")[0] for name in tensors if name.startswith(start)}
    return len(depths) or 2


def _disagreements(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> list[str]:
    missing = [n for n in expected if n not in tensors]
    unexpected = [n for n in tensors if n not in expected]
    misshapen = [
        f"{n} {tuple(tensors[n].shape)} instead of {tuple(expected[n].shape)}"
        for n in expected
        if n in tensors and tensors[n].shape != expected[n].shape
    ]
    # Quantised weights would be taken at face value.
    unlike = [
        f"{n} {str(tensors[n].dtype).removeprefix('torch.')}"
        for n in expected
        if n in tensors and tensors[n].is_floating_point() != expected[n].is_floating_point()
    ]
    kinds = (
        *(("missing", missing), ("unexpected", unexpected), ("misshapen", misshapen)),
        ("of another kind of number", unlike),
    )
    return [f"{len(names)} {kind}: {_shorten(names)}" for kind, names in kinds if names]


def _shorten(names: Iterable[str]) -> str:
    every = list(names)
    more = len(every) - SHOWN
    return ", ".join(every[:SHOWN]) + (f" and {more} more" if more > 0 else "")


def _shrunk(name: str, tensor: Tensor, dtype: torch.dtype) -> Tensor:
    tensor = tensor.detach().cpu().contiguous()
    exact = name == _POSITIONS or name.endswith((".running_mean", ".running_var"))
    if not tensor.is_floating_point():
        return tensor
    if exact:
        return tensor.float()
    small = tensor.to(dtype)
    return small if bool(small.isfinite().all()) else tensor.float()
