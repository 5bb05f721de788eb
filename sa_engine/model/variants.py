"""The sizes of the model and how to build one.

Source: "Segment Anything", section 3 (ViT-B, ViT-L, ViT-H); Zhang et al., "Faster Segment Anything"
(TinyViT, "vit_t"). The lite sizes are the engine's own: see `lite`.
"""

from dataclasses import dataclass

from torch import nn

from sa_engine.errors import UsageError
from sa_engine.model.encoders.efficientnet_lite import LITE_SIZES
from sa_engine.model.encoders.lite import LITE_STRIDE, LiteEncoder
from sa_engine.model.encoders.tiny_vit import TinyVit
from sa_engine.model.encoders.vit import Vit
from sa_engine.model.mask_decoder import MaskDecoder
from sa_engine.model.prompt_encoder import PromptEncoder
from sa_engine.model.sam import Sam


@dataclass(frozen=True, slots=True)
class VitSize:
    """width: channels; depth: blocks; heads: per block; global_blocks: those without windows."""

    width: int
    depth: int
    heads: int
    global_blocks: tuple[int, ...]


VIT_SIZES = {
    "vit_b": VitSize(768, 12, 12, (2, 5, 8, 11)),
    "vit_l": VitSize(1024, 24, 16, (5, 11, 17, 23)),
    "vit_h": VitSize(1280, 32, 16, (7, 15, 23, 31)),
}
VARIANTS = ("vit_t", *VIT_SIZES, *LITE_SIZES)
IMAGE_SIZE = 1024


def size_step(variant: str) -> int:
    """Input sizes of a variant are multiples of this, pixels."""
    return LITE_STRIDE if variant in LITE_SIZES else 16


def check_image_size(variant: str, image_size: int) -> None:
    """Raise UsageError, with a size near it, for an input size that a variant cannot have."""
    step = size_step(variant)
    if image_size <= 0 or image_size % step:
        near = max(1, round(image_size / step)) * step
        raise UsageError(
            f"image size {image_size} is not a positive multiple of {step}, as {variant} needs; "
            f"try {near}"
        )


def build_sam(
    variant: str, image_size: int = IMAGE_SIZE, *, drop_path: float = 0.0, decoder_depth: int = 2
) -> Sam:
    """Build a model with random weights, in training mode.

    variant: one of VARIANTS.
    image_size: side of the model's square input in pixels, a multiple of `size_step`.
    drop_path: stochastic depth rate of the encoder's last block, [0, 1); earlier ones less.
    decoder_depth: two-way blocks of the mask decoder; published models have 2.

    Raises UsageError for an unknown variant or an impossible size.
    """
    if variant not in VARIANTS:
        raise UsageError(f"unknown model variant {variant!r}; choose one of {', '.join(VARIANTS)}")
    check_image_size(variant, image_size)
    encoder: nn.Module
    if variant == "vit_t":
        encoder = TinyVit(drop_path=drop_path)
    elif variant in LITE_SIZES:
        encoder = LiteEncoder(LITE_SIZES[variant], drop_path=drop_path)
    else:
        size = VIT_SIZES[variant]
        encoder = Vit(
            image_size=image_size,
            width=size.width,
            depth=size.depth,
            heads=size.heads,
            global_blocks=size.global_blocks,
            drop_path=drop_path,
        )
    return Sam(
        encoder,
        PromptEncoder(image_size=image_size),
        MaskDecoder(depth=decoder_depth),
        image_size=image_size,
        variant=variant,
    )
