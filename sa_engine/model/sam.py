"""The promptable segmentation model: image encoder, prompt encoder, mask decoder.

Source: "Segment Anything" (arXiv 2304.02643), section 3.
"""

from contextlib import nullcontext
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sa_engine.errors import UsageError
from sa_engine.model.card import ModelCard
from sa_engine.model.crew import one_thread_an_operator
from sa_engine.model.embedding import ImageEmbedding
from sa_engine.model.encoders.efficientnet_lite import FrozenNorm
from sa_engine.model.encoders.lite import LiteEncoder
from sa_engine.model.framing import PIXEL_MEAN, PIXEL_STD
from sa_engine.model.mask_decoder import MaskDecoder
from sa_engine.model.prompt_encoder import PromptEncoder
from sa_engine.model.prompts import Prompts


class Sam(nn.Module):
    """Its state dict has the names and shapes of the public checkpoints, where there are such.

    image_encoder: gives the embedding, or the embedding and the decoder's skips.
    image_size: side of the square model input in pixels, a multiple of 16.
    variant: one of `variants.VARIANTS`.
    card: what is known of its weights, the thresholds for automatic masks among it; None for
        weights that were not read from a file.
    """

    mask_threshold = 0.0
    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(
        self,
        image_encoder: nn.Module,
        prompt_encoder: PromptEncoder,
        mask_decoder: MaskDecoder,
        *,
        image_size: int,
        variant: str,
    ) -> None:
        super().__init__()
        self.image_encoder = image_encoder
        self.prompt_encoder = prompt_encoder
        self.mask_decoder = mask_decoder
        self.image_size = image_size
        self.variant = variant
        self.card: ModelCard | None = None
        # On the CPU by name: not in checkpoints, so they must exist in a model built without data.
        mean, std = (torch.tensor(x, device="cpu").view(3, 1, 1) for x in (PIXEL_MEAN, PIXEL_STD))
        self.register_buffer("pixel_mean", mean, persistent=False)
        self.register_buffer("pixel_std", std, persistent=False)
        self._encoder_frozen = False

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.pixel_mean.device

    def freeze_encoder(self) -> None:
        """Leave the image encoder as it is in training: no gradients, no new statistics."""
        self._encoder_frozen = True
        self.image_encoder.requires_grad_(False)
        self.train(self.training)

    def freeze_stages(self, stages: int) -> None:
        """Let the stem and the first stages of a lite encoder's backbone learn no more.

        Raises UsageError for another encoder, or one of fewer stages.
        """
        if not isinstance(self.image_encoder, LiteEncoder):
            raise UsageError(
                f"the image encoder of {self.variant} has no stages to freeze; "
                "freeze_stages is for lite0, lite1 and lite2, freeze_encoder for any"
            )
        self.image_encoder.backbone.freeze(stages)

    def train(self, mode: bool = True) -> Self:
        """Set the training mode; a frozen image encoder stays in that of inference."""
        super().train(mode)
        if self._encoder_frozen:
            self.image_encoder.eval()
        return self

    def set_precision(self, dtype: torch.dtype) -> None:
        """Cast the encoder and the decoder, which do nearly all of the work, for inference.

        The prompt encoder stays in float32: a position in bfloat16 is off by up to four pixels.
        So do the batch normalisations' statistics.
        """
        self.image_encoder.to(dtype)
        self.mask_decoder.to(dtype)
        self.prompt_encoder.float()
        for module in self.image_encoder.modules():
            if isinstance(module, nn.BatchNorm2d | FrozenNorm):
                module.float()

    def preprocess(self, image_BCHW: Tensor) -> Tensor:
        """Normalise RGB in [0, 255]; pad with zeros, right and bottom, to the model's square.

        image_BCHW: (B, 3, h, w) or (3, h, w), h and w at most image_size.
        """
        h, w = image_BCHW.shape[-2:]
        if h > self.image_size or w > self.image_size:
            raise ValueError(
                f"image of {w}x{h} is larger than the model's input of {self.image_size}"
            )
        normed = (image_BCHW - self.pixel_mean) / self.pixel_std
        return F.pad(normed, (0, self.image_size - w, 0, self.image_size - h))

    def encode_image(self, images_B3HW: Tensor) -> ImageEmbedding:
        """Encode preprocessed images, (B, 3, S, S)."""
        dtype = next(self.image_encoder.parameters()).dtype
        plain = self.training or torch.is_grad_enabled()
        with nullcontext() if plain else one_thread_an_operator(self.device):
            out: Tensor | tuple[Tensor, ...] = self.image_encoder(images_B3HW.to(dtype))
        return ImageEmbedding(out) if isinstance(out, Tensor) else ImageEmbedding(*out)

    def decode(
        self,
        embedding: ImageEmbedding,
        prompts: Prompts,
        *,
        multimask: bool,
        image_index_P: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Logits (P, M, S/4, S/4) and predicted IoU (P, M); see `MaskDecoder.forward`."""
        sparse, dense = self.prompt_encoder(prompts)
        out: tuple[Tensor, Tensor] = self.mask_decoder(
            embedding,
            self.prompt_encoder.image_pe(),
            sparse,
            dense,
            multimask=multimask,
            image_index_P=image_index_P,
        )
        return out
