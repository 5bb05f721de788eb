"""The mask decoder in the published order, one prompt at a time, with nothing shared or rearranged.

Source: "Segment Anything", appendix A. It reads the weights by their public names.
"""

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

HEADS = 8


class PlainDecoder:
    """weights: the state dict of a `MaskDecoder`."""

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        self.weights = weights

    def decode(
        self,
        embedding_CHW: Tensor,
        image_pe_CHW: Tensor,
        sparse_TC: Tensor,
        dense_CHW: Tensor,
        skips: tuple[Tensor, Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """One prompt: all four masks' logits (4, 4·H, 4·W) and predicted IoU (4,).

        skips: maps (C/4, 2·H, 2·W) and (C/8, 4·H, 4·W), added after each upscaling.
        """
        c, h, w = embedding_CHW.shape
        own = torch.cat([self.weights["iou_token.weight"], self.weights["mask_tokens.weight"]])
        tokens_pe = torch.cat([own, sparse_TC])
        image_pe = image_pe_CHW.flatten(1).t()
        image = (embedding_CHW + dense_CHW).flatten(1).t()
        tokens = tokens_pe
        for i in range(2):
            at = f"transformer.layers.{i}"
            if i == 0:
                tokens = self._attention(f"{at}.self_attn", tokens, tokens, tokens)
            else:
                q = tokens + tokens_pe
                tokens = tokens + self._attention(f"{at}.self_attn", q, q, tokens)
            tokens = self._norm(f"{at}.norm1", tokens)
            read = f"{at}.cross_attn_token_to_image"
            tokens = tokens + self._attention(read, tokens + tokens_pe, image + image_pe, image)
            tokens = self._norm(f"{at}.norm2", tokens)
            hidden = self._linear(f"{at}.mlp.lin1", tokens).relu()
            tokens = self._norm(f"{at}.norm3", tokens + self._linear(f"{at}.mlp.lin2", hidden))
            answer = f"{at}.cross_attn_image_to_token"
            image = image + self._attention(answer, image + image_pe, tokens + tokens_pe, tokens)
            image = self._norm(f"{at}.norm4", image)
        final = "transformer.final_attn_token_to_image"
        tokens = tokens + self._attention(final, tokens + tokens_pe, image + image_pe, image)
        tokens = self._norm("transformer.norm_final_attn", tokens)

        x = image.t().reshape(1, c, h, w)
        x = self._transposed_convolution("output_upscaling.0", x)
        if skips is not None:
            x = x + skips[0]
        mean = x.mean(dim=1, keepdim=True)
        spread = ((x - mean) ** 2).mean(dim=1, keepdim=True)
        x = (x - mean) / torch.sqrt(spread + 1e-6)
        x = x * self.weights["output_upscaling.1.weight"][:, None, None]
        x = F.gelu(x + self.weights["output_upscaling.1.bias"][:, None, None])
        x = self._transposed_convolution("output_upscaling.3", x)[0]
        x = F.gelu(x if skips is None else x + skips[1])
        masks = [
            torch.einsum("c,chw->hw", self._mlp(f"output_hypernetworks_mlps.{i}", tokens[1 + i]), x)
            for i in range(4)
        ]
        return torch.stack(masks), self._mlp("iou_prediction_head", tokens[0])

    def _linear(self, name: str, x: Tensor) -> Tensor:
        return x @ self.weights[f"{name}.weight"].t() + self.weights[f"{name}.bias"]

    def _norm(self, name: str, x: Tensor) -> Tensor:
        weight, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        return F.layer_norm(x, weight.shape, weight, bias)

    def _mlp(self, name: str, x: Tensor) -> Tensor:
        x = self._linear(f"{name}.layers.0", x).relu()
        x = self._linear(f"{name}.layers.1", x).relu()
        return self._linear(f"{name}.layers.2", x)

    def _transposed_convolution(self, name: str, x_BCHW: Tensor) -> Tensor:
        weight, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        return F.conv_transpose2d(x_BCHW, weight, bias, stride=2)

    def _attention(self, name: str, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q = self._linear(f"{name}.q_proj", q)
        k = self._linear(f"{name}.k_proj", k)
        v = self._linear(f"{name}.v_proj", v)
        width = q.shape[1] // HEADS
        mixed = []
        for head in range(HEADS):
            at = slice(head * width, (head + 1) * width)
            scores = q[:, at] @ k[:, at].t() / math.sqrt(width)
            mixed.append(scores.softmax(dim=1) @ v[:, at])
        return self._linear(f"{name}.out_proj", torch.cat(mixed, dim=1))
