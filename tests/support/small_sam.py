"""A promptable model small enough to train in a test."""

from sa_engine.model.encoders.tiny_vit import TinyVit
from sa_engine.model.mask_decoder import MaskDecoder
from sa_engine.model.prompt_encoder import PromptEncoder
from sa_engine.model.sam import Sam


def small_sam(image_size: int, *, drop_path: float = 0.0, channels: int = 64) -> Sam:
    """A TinyViT of one or two blocks a stage and a narrow decoder, random weights."""
    encoder = TinyVit(
        widths=(32, 48, 64, 96),
        depths=(1, 1, 2, 1),
        heads=(1, 2, 2, 3),
        windows=(4, 4, 4, 4),
        out_channels=channels,
        drop_path=drop_path,
    )
    return Sam(
        encoder,
        PromptEncoder(image_size=image_size, channels=channels),
        MaskDecoder(channels=channels, hidden=2 * channels),
        image_size=image_size,
        variant="vit_t",
    )
