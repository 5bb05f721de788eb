"""The frozen image encoder as the detector sees it: its embedding and its finer early maps.

The embedding has a cell for 16 x 16 pixels of the model's input, which is coarse for small objects
where the input is small. TinyViT passes through maps of strides 4 and 8 on its way, and the lite
encoders' neck makes the mask decoder's skips of two; they come at no further cost. The plain ViTs
have one resolution throughout: for them finer maps are made by upsampling (Li et al., "Exploring
Plain Vision Transformer Backbones", 2022).
"""

import hashlib
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sa_engine.model.embedding import ImageEmbedding
from sa_engine.model.encoders.lite import LiteEncoder
from sa_engine.model.encoders.tiny_vit import TinyVit
from sa_engine.model.sam import Sam

EMBEDDING_STRIDE = 16


@dataclass(frozen=True, slots=True)
class EncodedMaps:
    """B images as the encoder sees them.

    embedding: as `Sam.encode_image` gives it.
    finer: the encoder's own maps of smaller strides, (B, C', S/stride, S/stride), by stride.
    """

    embedding: ImageEmbedding
    finer: dict[int, Tensor]


def finer_channels(sam: Sam) -> dict[int, int]:
    """The channels of the maps of smaller strides that `encode` gives, by stride; none for ViTs."""
    encoder: Any = sam.image_encoder
    if isinstance(encoder, LiteEncoder):
        return {4: encoder.neck.skip4.in_channels, 8: encoder.neck.skip8.in_channels}
    channels: dict[int, int] = {}
    stride = 4
    for step in _readers(sam):
        if stride >= EMBEDDING_STRIDE:
            break
        channels[stride] = int(step.conv1.c.weight.shape[1])
        stride *= int(step.conv2.c.stride[0])
    return channels


def encode(sam: Sam, images_B3SS: Tensor) -> EncodedMaps:
    """Encode preprocessed images once, for the detector and the mask decoder alike.

    images_B3SS: as `Sam.encode_image` takes them; the embedding is the same to the last bit.
    """
    side = images_B3SS.shape[-1]
    finer: dict[int, Tensor] = {}

    def keep(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        (x_BCHW,) = inputs
        stride = side // x_BCHW.shape[-1]
        if stride < EMBEDDING_STRIDE:
            finer[stride] = x_BCHW

    handles = [reader.register_forward_pre_hook(keep) for reader in _readers(sam)]
    try:
        embedding = sam.encode_image(images_B3SS)
    finally:
        for handle in handles:
            handle.remove()
    return EncodedMaps(embedding, finer)


def _readers(sam: Sam) -> list[Any]:
    """The encoder's modules whose inputs are its finer maps; none for ViTs.

    TinyViT: the steps from one stage to the next. Lite: the makers of the mask decoder's skips.
    """
    encoder: Any = sam.image_encoder
    if isinstance(encoder, LiteEncoder):
        return [encoder.neck.skip4, encoder.neck.skip8]
    if not isinstance(encoder, TinyVit):
        return []
    return [stage.downsample for stage in encoder.layers if stage.downsample is not None]


def encoder_digest(sam: Sam) -> str:
    """Hex SHA-256 of the image encoder's weights: what a detector belongs to.

    Weights are taken in float16, so that a file stored in half precision and the one that it was
    made from are the same encoder; a decoder trained further changes nothing.

    Raises ValueError for a model that was cast to another precision already.
    """
    digest = hashlib.sha256(f"{sam.variant} {sam.image_size}\n".encode("ascii"))
    for name, value in sorted(sam.image_encoder.state_dict().items()):
        if not value.is_floating_point():
            continue
        if value.dtype not in (torch.float32, torch.float16):
            raise ValueError(f"the encoder's {name} is {value.dtype}; take the digest before casts")
        digest.update(f"{name} {tuple(value.shape)}\n".encode("ascii"))
        # A zero has one sign here: averages of weights turn -0 into 0.
        digest.update((value.detach().cpu().half() + 0.0).contiguous().numpy().tobytes())
    return digest.hexdigest()
