"""Building a model of one of the sizes in `sizes`."""

from torch import nn

from sa_engine.errors import UsageError
from sa_engine.model.encoders.lite import LiteEncoder
from sa_engine.model.encoders.tiny_vit import TinyVit
from sa_engine.model.encoders.vit import Vit
from sa_engine.model.mask_decoder import MaskDecoder
from sa_engine.model.prompt_encoder import PromptEncoder
from sa_engine.model.sam import Sam
from sa_engine.model.sizes import IMAGE_SIZE, LITE_SIZES, VARIANTS, VIT_SIZES, check_image_size


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
