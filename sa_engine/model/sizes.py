"""The sizes that the model comes in, by name: what can be asked for without building one.

Source: "Segment Anything", section 3 (ViT-B, ViT-L, ViT-H); Zhang et al., "Faster Segment Anything"
(TinyViT, "vit_t"). The lite sizes are the engine's own: see `encoders/lite.py`.
"""

from dataclasses import dataclass

from sa_engine.errors import UsageError


@dataclass(frozen=True, slots=True)
class VitSize:
    """width: channels; depth: blocks; heads: per block; global_blocks: those without windows."""

    width: int
    depth: int
    heads: int
    global_blocks: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class LiteSize:
    """width, depth: factors on the channels and the blocks of the smallest size."""

    width: float
    depth: float


VIT_SIZES = {
    "vit_b": VitSize(768, 12, 12, (2, 5, 8, 11)),
    "vit_l": VitSize(1024, 24, 16, (5, 11, 17, 23)),
    "vit_h": VitSize(1280, 32, 16, (7, 15, 23, 31)),
}
LITE_SIZES = {
    "lite0": LiteSize(1.0, 1.0),
    "lite1": LiteSize(1.0, 1.1),
    "lite2": LiteSize(1.1, 1.2),
}
VARIANTS = ("vit_t", *VIT_SIZES, *LITE_SIZES)
IMAGE_SIZE = 1024
LITE_STRIDE = 32


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
