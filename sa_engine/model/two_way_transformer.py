"""Two-way attention between prompt tokens and image tokens, with little work per prompt.

Source: "Segment Anything", appendix A, "Lightweight mask decoder". The outputs are those of the
published order of operations up to float rounding; the algebra is exact:

* A cross-attention has R = heads·T rows, a few dozen (56 for a point), far fewer than the image's
  N = 4096 tokens. So image-side projections move to the tokens: `q·(x Wk)ᵀ = (q Wk)·xᵀ` and
  `weights·(x Wv) = (weights·x) Wv`: an N×C by C×R product instead of one of N×C by C×C/2.
* A key's bias adds the same to all of a softmax's entries and vanishes; a value's bias passes
  through. (So key biases get no gradient here; in the published order it is zero.)
* Image-to-token attention is `A·U`: A (N×R) the weights, U (R×C) the tokens' values already
  multiplied by the output projection. A head's weights sum to 1, so the output's bias goes into U.
* In the first block all prompts without a mask share their image's tokens; there the projections
  are made once per image (`TwoWayBlock.project_image`).

Image tokens come as a list of tiles, (P, n, C) each, so that from one product to the next a tile
stays in the processor's cache; a single tile is the plain case. Nothing is written in place: all of
it is differentiable.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sa_engine.model.layers import TokenMlp


@dataclass(frozen=True, slots=True)
class ProjectedImage:
    """The first block's projections of image tokens that all prompts share.

    key_1HND, value_1HND: for the tokens' reading of the image.
    query_tiles_1HnD: for the image's reading of the tokens, a tensor per tile.
    """

    key_1HND: Tensor
    value_1HND: Tensor
    query_tiles_1HnD: tuple[Tensor, ...]


class Attention(nn.Module):
    """Multi-head attention whose inner width may be smaller than its outer one."""

    def __init__(self, channels: int, *, heads: int, downsample: int = 1) -> None:
        super().__init__()
        self.heads = heads
        self.head_width = channels // downsample // heads
        inner = channels // downsample
        self.q_proj = nn.Linear(channels, inner)
        self.k_proj = nn.Linear(channels, inner)
        self.v_proj = nn.Linear(channels, inner)
        self.out_proj = nn.Linear(inner, channels)

    def forward(self, q_PTC: Tensor, k_PTC: Tensor, v_PTC: Tensor) -> Tensor:
        """Plain attention, for tokens among themselves."""
        q, k, v = (
            self.apart(project(x)).transpose(1, 2)
            for project, x in ((self.q_proj, q_PTC), (self.k_proj, k_PTC), (self.v_proj, v_PTC))
        )
        mixed = F.scaled_dot_product_attention(q, k, v)
        out: Tensor = self.out_proj(mixed.transpose(1, 2).flatten(2))
        return out

    def apart(self, x: Tensor) -> Tensor:
        """(..., H·D) to (..., H, D)."""
        return x.view(*x.shape[:-1], self.heads, self.head_width)

    def head_weight(self, projection: nn.Linear) -> Tensor:
        """An input projection's weight, (H, D, C)."""
        return projection.weight.view(self.heads, self.head_width, -1)


class TokensReadImage(Attention):
    """Prompt tokens attend to image tokens."""

    def forward_shared(self, q_PTC: Tensor, image: ProjectedImage) -> Tensor:
        """Read image tokens that all prompts share. Returns (P, T, C)."""
        p, t, _ = q_PTC.shape
        q_PTHD = self.apart(self.q_proj(q_PTC))
        q_1HQD = q_PTHD.permute(2, 0, 1, 3).flatten(1, 2)[None]
        mixed = F.scaled_dot_product_attention(q_1HQD, image.key_1HND, image.value_1HND)
        mixed_PTHD = mixed[0].view(self.heads, p, t, -1).permute(1, 2, 0, 3)
        out: Tensor = self.out_proj(mixed_PTHD.flatten(2))
        return out

    def forward_tiles(
        self, q_PTC: Tensor, tiles_PnC: Sequence[Tensor], pe_tiles_1nC: Sequence[Tensor]
    ) -> Tensor:
        """Read image tokens of each prompt's own. Returns (P, T, C)."""
        p, t, c = q_PTC.shape
        q_PTHD = self.apart(self.q_proj(q_PTC)) * self.head_width**-0.5
        q_PHTC = torch.einsum("pthd,hdc->phtc", q_PTHD, self.head_weight(self.k_proj))
        q_PRC = q_PHTC.reshape(p, -1, c)
        scores = [
            torch.bmm(q_PRC, (x + pe).transpose(1, 2))
            for x, pe in zip(tiles_PnC, pe_tiles_1nC, strict=True)
        ]
        weights_PRN = torch.cat(scores, dim=2).softmax(dim=2)
        parts = torch.split(weights_PRN, [x.shape[1] for x in tiles_PnC], 2)
        read_PRC = torch.bmm(parts[0], tiles_PnC[0])
        for part, x in zip(parts[1:], tiles_PnC[1:], strict=True):
            read_PRC = torch.baddbmm(read_PRC, part, x)
        read_PHTC = read_PRC.view(p, self.heads, t, c)
        mixed_PTHD = torch.einsum("phtc,hdc->pthd", read_PHTC, self.head_weight(self.v_proj))
        out: Tensor = self.out_proj(mixed_PTHD.reshape(p, t, -1) + self.v_proj.bias)
        return out


class ImageReadsTokens(Attention):
    """Image tokens attend to prompt tokens; the result is added to them."""

    def outgoing_values(self, v_PTC: Tensor) -> Tensor:
        """U: the tokens' values times the output projection, per head, its bias included."""
        v_PTHD = self.apart(self.v_proj(v_PTC))
        out_HDC = self.out_proj.weight.t().view(self.heads, self.head_width, -1)
        u_PHTC = torch.einsum("pthd,hdc->phtc", v_PTHD, out_HDC)
        share: Tensor = self.out_proj.bias / self.heads
        return u_PHTC.flatten(1, 2) + share

    def scaled_keys(self, k_PTC: Tensor) -> Tensor:
        """The tokens' keys, scaled for the softmax."""
        keys: Tensor = self.k_proj(k_PTC)
        scale: float = self.head_width**-0.5
        return self.apart(keys) * scale

    def forward_shared(
        self, x_1nC: Tensor, query_1HnD: Tensor, keys_PTHD: Tensor, u_PRC: Tensor
    ) -> Tensor:
        """One tile that all prompts share: x + attention, (P, n, C)."""
        scores_PHTn = keys_PTHD.transpose(1, 2) @ query_1HnD.transpose(2, 3)
        return _add_weighted(x_1nC.expand(len(u_PRC), -1, -1), scores_PHTn, u_PRC)

    def absorbed_keys(self, keys_PTHD: Tensor) -> tuple[Tensor, Tensor]:
        """The keys times the image's query projection, (P, R, C); its bias's part, (P, R, 1)."""
        k_PHTC = torch.einsum("pthd,hdc->phtc", keys_PTHD, self.head_weight(self.q_proj))
        bias_PHT = torch.einsum("pthd,hd->pht", keys_PTHD, self.apart(self.q_proj.bias))
        return k_PHTC.flatten(1, 2), bias_PHT.flatten(1)[..., None]

    def forward_tile(
        self, x_PnC: Tensor, pe_1nC: Tensor, absorbed: tuple[Tensor, Tensor], u_PRC: Tensor
    ) -> Tensor:
        """One tile of each prompt's own: x + attention, (P, n, C)."""
        keys_PRC, bias_PR1 = absorbed
        scores_PRn = torch.baddbmm(bias_PR1, keys_PRC, (x_PnC + pe_1nC).transpose(1, 2))
        scores_PHTn = scores_PRn.view(len(u_PRC), self.heads, -1, x_PnC.shape[1])
        return _add_weighted(x_PnC, scores_PHTn, u_PRC)


def _add_weighted(x_PnC: Tensor, scores_PHTn: Tensor, u_PRC: Tensor) -> Tensor:
    weights_PRn = scores_PHTn.softmax(dim=2).flatten(1, 2)
    return torch.baddbmm(x_PnC, weights_PRn.transpose(1, 2), u_PRC)


class TwoWayBlock(nn.Module):
    """Tokens among themselves, tokens read the image, an MLP, the image reads the tokens."""

    def __init__(self, channels: int, *, heads: int, hidden: int, first: bool) -> None:
        super().__init__()
        self.first = first
        self.self_attn = Attention(channels, heads=heads)
        self.norm1 = nn.LayerNorm(channels)
        self.cross_attn_token_to_image = TokensReadImage(channels, heads=heads, downsample=2)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = TokenMlp(channels, hidden, F.relu)
        self.norm3 = nn.LayerNorm(channels)
        self.norm4 = nn.LayerNorm(channels)
        self.cross_attn_image_to_token = ImageReadsTokens(channels, heads=heads, downsample=2)

    def project_image(
        self, tiles_1nC: Sequence[Tensor], pe_tiles_1nC: Sequence[Tensor]
    ) -> ProjectedImage:
        """Project image tokens that all prompts share, once."""
        read, answer = self.cross_attn_token_to_image, self.cross_attn_image_to_token
        x = torch.cat(list(tiles_1nC), dim=1)
        x_with_pe = x + torch.cat(list(pe_tiles_1nC), dim=1)
        key, value, query = (
            read.apart(projected).transpose(1, 2).contiguous()
            for projected in (read.k_proj(x_with_pe), read.v_proj(x), answer.q_proj(x_with_pe))
        )
        return ProjectedImage(key, value, torch.split(query, [t.shape[1] for t in tiles_1nC], 2))

    def forward(
        self,
        tokens_PTC: Tensor,
        token_pe_PTC: Tensor,
        tiles: Sequence[Tensor],
        pe_tiles_1nC: Sequence[Tensor],
        shared: ProjectedImage | None,
    ) -> tuple[Tensor, list[Tensor]]:
        """Returns the new tokens (P, T, C) and image tiles (P, n, C).

        tiles: (P, n, C) each; or (1, n, C), shared by all prompts, with `shared` their projections.
        """
        if self.first:
            tokens = self.self_attn(tokens_PTC, tokens_PTC, tokens_PTC)
        else:
            q = tokens_PTC + token_pe_PTC
            tokens = tokens_PTC + self.self_attn(q, q, tokens_PTC)
        tokens = self.norm1(tokens)

        read, answer = self.cross_attn_token_to_image, self.cross_attn_image_to_token
        q = tokens + token_pe_PTC
        if shared is None:
            tokens = tokens + read.forward_tiles(q, tiles, pe_tiles_1nC)
        else:
            tokens = tokens + read.forward_shared(q, shared)
        tokens = self.norm2(tokens)
        tokens = self.norm3(tokens + self.mlp(tokens))

        keys, values = answer.scaled_keys(tokens + token_pe_PTC), answer.outgoing_values(tokens)
        if shared is None:
            absorbed = answer.absorbed_keys(keys)
            tiles = [
                self.norm4(answer.forward_tile(x, pe, absorbed, values))
                for x, pe in zip(tiles, pe_tiles_1nC, strict=True)
            ]
        else:
            tiles = [
                self.norm4(answer.forward_shared(x, query, keys, values))
                for x, query in zip(tiles, shared.query_tiles_1HnD, strict=True)
            ]
        return tokens, tiles


class TwoWayTransformer(nn.Module):
    """The decoder's transformer: two-way blocks and a final reading of the image by the tokens."""

    def __init__(self, channels: int, *, depth: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            TwoWayBlock(channels, heads=heads, hidden=hidden, first=i == 0) for i in range(depth)
        )
        self.final_attn_token_to_image = TokensReadImage(channels, heads=heads, downsample=2)
        self.norm_final_attn = nn.LayerNorm(channels)

    def project_image(
        self, tiles_1nC: Sequence[Tensor], pe_tiles_1nC: Sequence[Tensor]
    ) -> ProjectedImage:
        """See `TwoWayBlock.project_image`."""
        first = self.layers[0]
        assert isinstance(first, TwoWayBlock)
        return first.project_image(tiles_1nC, pe_tiles_1nC)

    def forward(
        self,
        tokens_PTC: Tensor,
        tiles: Sequence[Tensor],
        pe_tiles_1nC: Sequence[Tensor],
        shared: ProjectedImage | None,
    ) -> tuple[Tensor, list[Tensor]]:
        """Returns tokens (P, T, C) and image tiles (P, n, C); see `TwoWayBlock.forward`."""
        tokens = tokens_PTC
        for layer in self.layers:
            tokens, tiles = layer(tokens, tokens_PTC, tiles, pe_tiles_1nC, shared)
            shared = None
        read = self.final_attn_token_to_image
        tokens = tokens + read.forward_tiles(tokens + tokens_PTC, tiles, pe_tiles_1nC)
        return self.norm_final_attn(tokens), list(tiles)
