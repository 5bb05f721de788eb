"""The ViT image encoder with window attention and a few global blocks.

Source: "Segment Anything", appendix A; Li et al., "Exploring Plain Vision Transformer Backbones for
Object Detection" (ViTDet), for windows and decomposed relative positions.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sa_engine.model.encoders.relative_attention import attend
from sa_engine.model.encoders.strips import Rows, in_strips, linear_in_strips, neck_in_strips
from sa_engine.model.layers import (
    DropPath,
    LayerNorm2d,
    TokenMlp,
    drop_path_rates,
    from_windows,
    to_windows,
)


class PatchEmbed(nn.Module):
    """Project square patches: (B, 3, S, S) to (B, S/patch, S/patch, C)."""

    def __init__(self, patch: int, channels: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, channels, patch, patch)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        out: Tensor = self.proj(x_BCHW)
        return out.permute(0, 2, 3, 1)


class RelativeAttention(nn.Module):
    """Self-attention over a square of tokens with relative positions (`relative_attention`)."""

    def __init__(self, channels: int, *, heads: int, side: int) -> None:
        super().__init__()
        self.heads = heads
        self.side = side
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)
        self.rel_pos_h = nn.Parameter(torch.zeros(2 * side - 1, channels // heads))
        self.rel_pos_w = nn.Parameter(torch.zeros(2 * side - 1, channels // heads))

    def forward(self, x_BHWC: Tensor) -> Tensor:
        b, h, w, c = x_BHWC.shape
        qkv = linear_in_strips(self.qkv, x_BHWC).view(b, h * w, 3, self.heads, c // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        steps = torch.arange(self.side, device=x_BHWC.device)
        distance = steps[:, None] - steps + self.side - 1
        mixed = attend(q, k, v, rel_HHD=self.rel_pos_h[distance], rel_WWD=self.rel_pos_w[distance])
        return linear_in_strips(self.proj, mixed.transpose(1, 2).reshape(b, h, w, c))


class VitBlock(nn.Module):
    """Attention, in windows or over the whole map, then an MLP."""

    def __init__(
        self, channels: int, *, heads: int, window: int | None, grid: int, drop_path: float
    ) -> None:
        super().__init__()
        self.window = window
        self.norm1 = nn.LayerNorm(channels, eps=1e-6)
        self.attn = RelativeAttention(channels, heads=heads, side=window or grid)
        self.norm2 = nn.LayerNorm(channels, eps=1e-6)
        self.mlp = TokenMlp(channels, 4 * channels, F.gelu)
        self.drop_path = DropPath(drop_path)

    def forward(self, x_BHWC: Tensor) -> Tensor:
        size_hw = (x_BHWC.shape[1], x_BHWC.shape[2])
        x = self.norm1(x_BHWC)
        if self.window is None:
            x = self.attn(x)
        else:
            windows, padded_hw = to_windows(x, self.window)
            x = from_windows(self.attn(windows), padded_hw=padded_hw, size_hw=size_hw)
        x_BHWC = x_BHWC + self.drop_path(x)
        out: Tensor = x_BHWC + self.drop_path(self._think(x_BHWC))
        return out

    def _think(self, x_BHWC: Tensor) -> Tensor:
        x_NC = x_BHWC.flatten(0, 2)

        def compute(rows: Rows) -> Tensor:
            out: Tensor = self.mlp(self.norm2(x_NC[rows[0] : rows[1]]))
            return out

        row_bytes = self.mlp.lin1.out_features * x_NC.element_size()
        out_NC = in_strips(len(x_NC), row_bytes, x_NC, compute, dim=0, training=self.training)
        return out_NC.view(x_BHWC.shape)


class Vit(nn.Module):
    """Image encoder: normalised pixels (B, 3, S, S) to embeddings (B, channels, S/16, S/16)."""

    def __init__(
        self,
        *,
        image_size: int,
        width: int,
        depth: int,
        heads: int,
        global_blocks: tuple[int, ...],
        window: int = 14,
        patch: int = 16,
        out_channels: int = 256,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        grid = image_size // patch
        self.patch_embed = PatchEmbed(patch, width)
        self.pos_embed = nn.Parameter(torch.zeros(1, grid, grid, width))
        rates = drop_path_rates(drop_path, depth)
        self.blocks = nn.ModuleList(
            VitBlock(
                width,
                heads=heads,
                window=None if i in global_blocks else window,
                grid=grid,
                drop_path=rates[i],
            )
            for i in range(depth)
        )
        self.neck = nn.Sequential(
            nn.Conv2d(width, out_channels, 1, bias=False),
            LayerNorm2d(out_channels),
            nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
            LayerNorm2d(out_channels),
        )
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        x_BHWC = self.patch_embed(x_BCHW) + self.pos_embed
        for block in self.blocks:
            x_BHWC = block(x_BHWC)
        return neck_in_strips(self.neck, x_BHWC.permute(0, 3, 1, 2))
