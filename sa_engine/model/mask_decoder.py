"""The mask decoder: image embedding and prompts to masks and their predicted IoU.

Source: "Segment Anything", appendix A, "Lightweight mask decoder" and "Making the model
ambiguity-aware". One decoder serves training, a few interactive prompts and thousands of grid points:
`prepare` does what an image's prompts share, `attend` scores prompts, `masks` draws the chosen ones.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sa_engine.model.layers import HeadMlp, LayerNorm2d
from sa_engine.model.two_way_transformer import ProjectedImage, TwoWayTransformer

NUM_MASKS = 4
"""Masks per prompt: index 0 answers several prompts, 1 to 3 are the answers to an ambiguous one."""


@dataclass(frozen=True, slots=True)
class ImageContext:
    """What the prompts of one image, or of a batch of B images, share."""

    embedding_BNC: Tensor
    pe_1NC: Tensor
    grid_hw: tuple[int, int]
    shared_tokens_1NC: Tensor | None
    shared: ProjectedImage | None


@dataclass(frozen=True, slots=True)
class DecodedTokens:
    """The decoder's state for P prompts before any mask is drawn.

    iou_P4: predicted IoU of the prompt's four masks, float32.
    """

    iou_P4: Tensor
    mask_tokens_P4C: Tensor
    image_PNC: Tensor
    grid_hw: tuple[int, int]

    def __len__(self) -> int:
        return len(self.iou_P4)


class MaskDecoder(nn.Module):
    """See the module's text."""

    def __init__(
        self, *, channels: int = 256, depth: int = 2, heads: int = 8, hidden: int = 2048
    ) -> None:
        super().__init__()
        self.transformer = TwoWayTransformer(channels, depth=depth, heads=heads, hidden=hidden)
        self.iou_token = nn.Embedding(1, channels)
        self.mask_tokens = nn.Embedding(NUM_MASKS, channels)
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose2d(channels, channels // 4, 2, 2),
            LayerNorm2d(channels // 4),
            nn.GELU(),
            nn.ConvTranspose2d(channels // 4, channels // 8, 2, 2),
            nn.GELU(),
        )
        self.output_hypernetworks_mlps = nn.ModuleList(
            HeadMlp(channels, channels, channels // 8, 3) for _ in range(NUM_MASKS)
        )
        self.iou_prediction_head = HeadMlp(channels, channels, NUM_MASKS, 3)

    def prepare(
        self,
        embedding_BCHW: Tensor,
        image_pe_1CHW: Tensor,
        *,
        shared_dense_1C11: Tensor | None = None,
    ) -> ImageContext:
        """Do the work that prompts share.

        embedding_BCHW: the image embedding, or several images' (then `attend` needs image_index_P).
        shared_dense_1C11: the dense embedding of prompts without masks; with it the first block's
            projections of a single image are made here, once.
        """
        dtype = self.iou_token.weight.dtype
        grid_hw = (embedding_BCHW.shape[2], embedding_BCHW.shape[3])
        embedding = embedding_BCHW.to(dtype).flatten(2).transpose(1, 2)
        pe = image_pe_1CHW.to(dtype).flatten(2).transpose(1, 2).contiguous()
        if shared_dense_1C11 is None or len(embedding) != 1:
            return ImageContext(embedding.contiguous(), pe, grid_hw, None, None)
        tokens = (embedding + shared_dense_1C11.to(dtype).flatten(1)).contiguous()
        shared = self.transformer.layers[0].project_image(tokens, pe)
        return ImageContext(embedding.contiguous(), pe, grid_hw, tokens, shared)

    def attend(
        self,
        context: ImageContext,
        sparse_PTC: Tensor,
        dense: Tensor,
        *,
        image_index_P: Tensor | None = None,
    ) -> DecodedTokens:
        """Run the transformer for P prompts.

        dense: (P, C, H, W) of mask prompts, or the (1, C, 1, 1) that all prompts without masks share.
        image_index_P: the image of each prompt, where the context holds several.
        """
        dtype = self.iou_token.weight.dtype
        p = len(sparse_PTC)
        own = torch.cat([self.iou_token.weight, self.mask_tokens.weight])
        tokens = torch.cat([own[None].expand(p, -1, -1), sparse_PTC.to(dtype)], dim=1)
        if dense.shape[2:] == (1, 1) and context.shared_tokens_1NC is not None:
            x, shared = context.shared_tokens_1NC, context.shared
        else:
            x, shared = context.embedding_BNC, None
            if len(x) > 1:
                if image_index_P is None:
                    raise ValueError(
                        f"{len(x)} images: image_index_P must name each prompt's image"
                    )
                x = x[image_index_P]
            x = (x + dense.to(dtype).flatten(2).transpose(1, 2)).expand(p, -1, -1)
        tokens, x = self.transformer(tokens, x, context.pe_1NC, shared)
        iou = self.iou_prediction_head(tokens[:, 0])
        return DecodedTokens(iou.float(), tokens[:, 1 : 1 + NUM_MASKS], x, context.grid_hw)

    def masks(self, tokens: DecodedTokens, prompt_index_K: Tensor, mask_index_K: Tensor) -> Tensor:
        """Draw the chosen masks: low-resolution logits (K, 4·H, 4·W), float32.

        prompt_index_K, mask_index_K: which prompt's which mask (0 to 3), int64.
        """
        h, w = tokens.grid_hw
        prompts, position_K = torch.unique(prompt_index_K, return_inverse=True)
        upscaled = self._upscale(tokens.image_PNC[prompts], h, w)
        hyper = torch.stack(
            [
                mlp(tokens.mask_tokens_P4C[prompts, i])
                for i, mlp in enumerate(self.output_hypernetworks_mlps)
            ],
            dim=1,
        )
        logits = (hyper @ upscaled.flatten(2)).unflatten(2, (4 * h, 4 * w))
        return logits[position_K, mask_index_K].float()

    def _upscale(self, x_PNC: Tensor, h: int, w: int) -> Tensor:
        out: Tensor = self.output_upscaling(x_PNC.transpose(1, 2).unflatten(2, (h, w)))
        return out

    def forward(
        self,
        embedding_BCHW: Tensor,
        image_pe_1CHW: Tensor,
        sparse_PTC: Tensor,
        dense: Tensor,
        *,
        multimask: bool,
        image_index_P: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """All prompts at once: logits (P, M, 4·H, 4·W) and predicted IoU (P, M), float32.

        M is 3 with `multimask` (the masks of an ambiguous prompt), else 1. Differentiable.
        """
        shared_dense = dense if dense.shape[2:] == (1, 1) else None
        context = self.prepare(embedding_BCHW, image_pe_1CHW, shared_dense_1C11=shared_dense)
        tokens = self.attend(context, sparse_PTC, dense, image_index_P=image_index_P)
        chosen = torch.arange(1, NUM_MASKS) if multimask else torch.arange(1)
        chosen = chosen.to(sparse_PTC.device)
        p, m = len(sparse_PTC), len(chosen)
        prompts = torch.arange(p, device=chosen.device).repeat_interleave(m)
        logits = self.masks(tokens, prompts, chosen.repeat(p))
        return logits.unflatten(0, (p, m)), tokens.iou_P4[:, chosen]
