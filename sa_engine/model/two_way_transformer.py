"""Two-way attention between prompt tokens and image tokens, arranged so that little work is per prompt.

Source: "Segment Anything", appendix A, "Lightweight mask decoder". The outputs are those of the
published order of operations up to float rounding; the algebra is exact:

* A cross-attention has R = heads·T ≤ a few dozen rows, far fewer than the image's N tokens. So the
  image-side projections move to the tokens: `q·(x Wk)ᵀ = (q Wk)·xᵀ` and `softmax·(x Wv) = (softmax·x) Wv`.
  Per prompt an N×C by C×R product replaces one of N×C by C×C/2.
* A key bias adds a constant to a softmax's every entry and vanishes; a value bias passes through it.
* Image-to-token attention is `A·U`: A (N×R) its weights, U (R×C) the token values already multiplied
  by the output projection; weights of one head sum to 1, so the output bias goes into U.
* In the first block image tokens are shared by all prompts of an image that have no mask; there the
  projections are done once per image (`project_image`).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sa_engine.model.layers import TokenMlp


class Attention(nn.Module):
    """Multi-head attention whose inner width may be smaller than its outer one."""

    def __init__(self, channels: int, *, heads: int, downsample: int = 1) -> None:
        super().__init__()
        self.heads = heads
        inner = channels // downsample
        self.q_proj = nn.Linear(channels, inner)
        self.k_proj = nn.Linear(channels, inner)
        self.v_proj = nn.Linear(channels, inner)
        self.out_proj = nn.Linear(inner, channels)

    def forward(self, q_PTC: Tensor, k_PTC: Tensor, v_PTC: Tensor) -> Tensor:
        """Plain attention among the prompt tokens."""
        q, k, v = self.q_proj(q_PTC), self.k_proj(k_PTC), self.v_proj(v_PTC)
        q, k, v = (x.unflatten(-1, (self.heads, -1)).transpose(1, 2) for x in (q, k, v))
        mixed = F.scaled_dot_product_attention(q, k, v)
        out: Tensor = self.out_proj(mixed.transpose(1, 2).flatten(2))
        return out

    def _per_head(self, weight: Tensor) -> Tensor:
        """A projection's weight (H·D, C) as (H, D, C)."""
        return weight.unflatten(0, (self.heads, -1))

    def tokens_read_image(self, q_PTC: Tensor, keys_PNC: Tensor, values_PNC: Tensor) -> Tensor:
        """Prompt tokens attend to image tokens that differ per prompt. Returns (P, T, C)."""
        p, t, _ = q_PTC.shape
        q_PTHD = self.q_proj(q_PTC).unflatten(-1, (self.heads, -1))
        scale = q_PTHD.shape[-1] ** -0.5
        q_PHTC = torch.einsum("pthd,hdc->phtc", q_PTHD * scale, self._per_head(self.k_proj.weight))
        scores_PRN = q_PHTC.flatten(1, 2) @ keys_PNC.transpose(1, 2)
        read_PRC = scores_PRN.softmax(dim=-1) @ values_PNC
        read_PHTC = read_PRC.unflatten(1, (self.heads, t))
        mixed = torch.einsum("phtc,hdc->pthd", read_PHTC, self._per_head(self.v_proj.weight))
        out: Tensor = self.out_proj(mixed.reshape(p, t, -1) + self.v_proj.bias)
        return out

    def tokens_read_shared(self, q_PTC: Tensor, image: "ProjectedImage") -> Tensor:
        """Prompt tokens attend to image tokens that all prompts share. Returns (P, T, C)."""
        p, t, _ = q_PTC.shape
        q_PTHD = self.q_proj(q_PTC).unflatten(-1, (self.heads, -1))
        q_1HLD = q_PTHD.permute(2, 0, 1, 3).flatten(1, 2)[None]
        mixed = F.scaled_dot_product_attention(q_1HLD, image.key_1HND, image.value_1HND)
        mixed = mixed[0].unflatten(1, (p, t)).permute(1, 2, 0, 3)
        out: Tensor = self.out_proj(mixed.flatten(2))
        return out

    def image_reads_tokens(
        self, x_PNC: Tensor, queries_PNC: Tensor, k_PTC: Tensor, v_PTC: Tensor
    ) -> Tensor:
        """Image tokens that differ per prompt attend to its tokens: x + attention, (P, N, C)."""
        k_PTHD = self._token_keys(k_PTC)
        k_PHTC = torch.einsum("pthd,hdc->phtc", k_PTHD, self._per_head(self.q_proj.weight))
        bias_PHT = torch.einsum("pthd,hd->pht", k_PTHD, self.q_proj.bias.view(self.heads, -1))
        scores_PRN = torch.baddbmm(
            bias_PHT.flatten(1)[..., None], k_PHTC.flatten(1, 2), queries_PNC.transpose(1, 2)
        )
        return self._add_token_values(x_PNC, scores_PRN, v_PTC)

    def shared_reads_tokens(
        self, x_1NC: Tensor, query_1HND: Tensor, k_PTC: Tensor, v_PTC: Tensor
    ) -> Tensor:
        """Image tokens that all prompts share attend to each prompt's tokens: (P, N, C)."""
        k_PHTD = self._token_keys(k_PTC).transpose(1, 2)
        scores_PHTN = k_PHTD @ query_1HND.transpose(-1, -2)
        x_PNC = x_1NC.expand(len(k_PTC), -1, -1)
        return self._add_token_values(x_PNC, scores_PHTN.flatten(1, 2), v_PTC)

    def _token_keys(self, k_PTC: Tensor) -> Tensor:
        k_PTHD: Tensor = self.k_proj(k_PTC).unflatten(-1, (self.heads, -1))
        return k_PTHD * k_PTHD.shape[-1] ** -0.5

    def _add_token_values(self, x_PNC: Tensor, scores_PRN: Tensor, v_PTC: Tensor) -> Tensor:
        v_PTHD = self.v_proj(v_PTC).unflatten(-1, (self.heads, -1))
        out_HDC = self._per_head(self.out_proj.weight.t())
        u_PHTC = torch.einsum("pthd,hdc->phtc", v_PTHD, out_HDC) + self.out_proj.bias / self.heads
        weights = scores_PRN.unflatten(1, (self.heads, -1)).softmax(dim=2).flatten(1, 2)
        return torch.baddbmm(x_PNC, weights.transpose(1, 2), u_PHTC.flatten(1, 2))


@dataclass(frozen=True, slots=True)
class ProjectedImage:
    """The first block's projections of image tokens that all prompts share."""

    key_1HND: Tensor
    value_1HND: Tensor
    query_1HND: Tensor


class TwoWayBlock(nn.Module):
    """Tokens among themselves, tokens read the image, an MLP, the image reads the tokens."""

    def __init__(self, channels: int, *, heads: int, hidden: int, first: bool) -> None:
        super().__init__()
        self.first = first
        self.self_attn = Attention(channels, heads=heads)
        self.norm1 = nn.LayerNorm(channels)
        self.cross_attn_token_to_image = Attention(channels, heads=heads, downsample=2)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = TokenMlp(channels, hidden, F.relu)
        self.norm3 = nn.LayerNorm(channels)
        self.norm4 = nn.LayerNorm(channels)
        self.cross_attn_image_to_token = Attention(channels, heads=heads, downsample=2)

    def project_image(self, x_1NC: Tensor, pe_1NC: Tensor) -> ProjectedImage:
        """Project image tokens that all prompts share, once."""
        read, answer = self.cross_attn_token_to_image, self.cross_attn_image_to_token
        with_pe = x_1NC + pe_1NC
        return ProjectedImage(
            *(
                projected.unflatten(-1, (read.heads, -1)).transpose(1, 2).contiguous()
                for projected in (read.k_proj(with_pe), read.v_proj(x_1NC), answer.q_proj(with_pe))
            )
        )

    def forward(
        self,
        tokens_PTC: Tensor,
        token_pe_PTC: Tensor,
        x_PNC: Tensor,
        pe_1NC: Tensor,
        shared: ProjectedImage | None,
    ) -> tuple[Tensor, Tensor]:
        """Returns the new tokens (P, T, C) and image tokens (P, N, C).

        x_PNC: one set of image tokens per prompt, or a single set with `shared` its projections.
        """
        if self.first:
            tokens = self.self_attn(tokens_PTC, tokens_PTC, tokens_PTC)
        else:
            q = tokens_PTC + token_pe_PTC
            tokens = tokens_PTC + self.self_attn(q, q, tokens_PTC)
        tokens = self.norm1(tokens)

        read = self.cross_attn_token_to_image
        if shared is None:
            with_pe = x_PNC + pe_1NC
            tokens = tokens + read.tokens_read_image(tokens + token_pe_PTC, with_pe, x_PNC)
        else:
            tokens = tokens + read.tokens_read_shared(tokens + token_pe_PTC, shared)
        tokens = self.norm2(tokens)
        tokens = self.norm3(tokens + self.mlp(tokens))

        answer = self.cross_attn_image_to_token
        if shared is None:
            x = answer.image_reads_tokens(x_PNC, with_pe, tokens + token_pe_PTC, tokens)
        else:
            x = answer.shared_reads_tokens(x_PNC, shared.query_1HND, tokens + token_pe_PTC, tokens)
        return tokens, self.norm4(x)


class TwoWayTransformer(nn.Module):
    """The decoder's transformer: two-way blocks and a final reading of the image by the tokens."""

    def __init__(self, channels: int, *, depth: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            TwoWayBlock(channels, heads=heads, hidden=hidden, first=i == 0) for i in range(depth)
        )
        self.final_attn_token_to_image = Attention(channels, heads=heads, downsample=2)
        self.norm_final_attn = nn.LayerNorm(channels)

    def forward(
        self, tokens_PTC: Tensor, x_PNC: Tensor, pe_1NC: Tensor, shared: ProjectedImage | None
    ) -> tuple[Tensor, Tensor]:
        """Returns tokens (P, T, C) and image tokens (P, N, C); see `TwoWayBlock.forward`."""
        tokens = tokens_PTC
        for layer in self.layers:
            tokens, x_PNC = layer(tokens, tokens_PTC, x_PNC, pe_1NC, shared)
            shared = None
        read = self.final_attn_token_to_image
        tokens = tokens + read.tokens_read_image(tokens + tokens_PTC, x_PNC + pe_1NC, x_PNC)
        return self.norm_final_attn(tokens), x_PNC
