"""The TinyViT image encoder, as the public MobileSAM uses it ("vit_t").

Source: Wu et al., "TinyViT" (ECCV 2022), the 5M size; Zhang et al., "Faster Segment Anything"
(2023), which gives the third downsampling stride 1, so that the embedding is 1/16 of the image.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sa_engine.model.encoders.strips import (
    Rows,
    in_strips,
    neck_in_strips,
    rows_made,
    rows_needed,
)
from sa_engine.model.layers import (
    DropPath,
    LayerNorm2d,
    drop_path_rates,
    from_windows,
    to_windows,
)


class ConvNorm(nn.Sequential):
    """A convolution without bias, then batch normalisation; one convolution in evaluation."""

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        *,
        kernel: int = 1,
        stride: int = 1,
        groups: int = 1,
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.c = nn.Conv2d(
            channels_in, channels_out, kernel, stride, kernel // 2, groups=groups, bias=False
        )
        self.bn = nn.BatchNorm2d(channels_out)
        nn.init.constant_(self.bn.weight, scale)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        bn = self.bn
        if self.training or bn.running_var is None or bn.running_mean is None:
            out: Tensor = bn(self.c(x_BCHW))
            return out
        scale = bn.weight * torch.rsqrt(bn.running_var + bn.eps)
        weight = (self.c.weight * scale[:, None, None, None]).to(x_BCHW.dtype)
        bias = (bn.bias - bn.running_mean * scale).to(x_BCHW.dtype)
        if weight.shape[2:] == (1, 1):
            # Channels lie last in memory: a plain matrix product, which convolutions only sometimes
            # find on a CPU.
            product = F.linear(x_BCHW.permute(0, 2, 3, 1), weight[:, :, 0, 0], bias)
            return product.permute(0, 3, 1, 2)
        return F.conv2d(x_BCHW, weight, bias, self.c.stride, self.c.padding, groups=self.c.groups)


class RowsConv(ConvNorm):
    """A 3 by 3 convolution that can be asked for some rows of its output."""

    def needed(self, rows: Rows, height: int) -> Rows:
        """The input's rows, of `height`, that `of_rows` wants for these rows of the output."""
        return rows_needed(rows, height, stride=self.c.stride[0])

    def of_rows(self, x_BCHW: Tensor, rows: Rows) -> Tensor:
        """Rows of the output from the input's rows that `needed` names."""
        return rows_made(self(x_BCHW), rows)


class ConvPatchEmbed(nn.Module):
    """Two strided convolutions: (B, 3, S, S) to (B, C, S/4, S/4)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.seq = nn.Sequential(
            RowsConv(3, channels // 2, kernel=3, stride=2),
            nn.GELU(),
            RowsConv(channels // 2, channels, kernel=3, stride=2),
        )

    def forward(self, x_BCHW: Tensor) -> Tensor:
        first, _, second = self.seq
        assert isinstance(first, RowsConv) and isinstance(second, RowsConv)
        height, width = x_BCHW.shape[2:]

        def compute(rows: Rows) -> Tensor:
            middle = second.needed(rows, height // 2)
            top, bottom = first.needed(middle, height)
            return second.of_rows(F.gelu(first.of_rows(x_BCHW[:, :, top:bottom], middle)), rows)

        row_bytes = len(x_BCHW) * first.c.out_channels * width * x_BCHW.element_size()
        return in_strips(height // 4, row_bytes, x_BCHW, compute, dim=2, training=self.training)


class MobileConv(nn.Module):
    """An inverted bottleneck with a residual (MBConv)."""

    def __init__(self, channels: int, *, expansion: int, drop_path: float) -> None:
        super().__init__()
        hidden = channels * expansion
        self.conv1 = ConvNorm(channels, hidden)
        self.conv2 = RowsConv(hidden, hidden, kernel=3, groups=hidden)
        self.conv3 = ConvNorm(hidden, channels, scale=0.0)
        self.drop_path = DropPath(drop_path)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        height, width = x_BCHW.shape[2:]

        def compute(rows: Rows) -> Tensor:
            top, bottom = self.conv2.needed(rows, height)
            x = F.gelu(self.conv1(x_BCHW[:, :, top:bottom]))
            x = F.gelu(self.conv2.of_rows(x, rows))
            residual = x_BCHW[:, :, rows[0] : rows[1]]
            return F.gelu(residual + self.drop_path(self.conv3(x)))

        row_bytes = len(x_BCHW) * self.conv1.c.out_channels * width * x_BCHW.element_size()
        return in_strips(height, row_bytes, x_BCHW, compute, dim=2, training=self.training)


class PatchMerging(nn.Module):
    """Change the channels and, with stride 2, halve the map."""

    def __init__(self, channels_in: int, channels_out: int, *, stride: int) -> None:
        super().__init__()
        self.conv1 = ConvNorm(channels_in, channels_out)
        self.conv2 = RowsConv(
            channels_out, channels_out, kernel=3, stride=stride, groups=channels_out
        )
        self.conv3 = ConvNorm(channels_out, channels_out)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        height, width = x_BCHW.shape[2:]
        stride = self.conv2.c.stride[0]

        def compute(rows: Rows) -> Tensor:
            top, bottom = self.conv2.needed(rows, height)
            x = F.gelu(self.conv1(x_BCHW[:, :, top:bottom]))
            x = F.gelu(self.conv2.of_rows(x, rows))
            out: Tensor = self.conv3(x)
            return out

        row_bytes = len(x_BCHW) * self.conv1.c.out_channels * width * x_BCHW.element_size() * stride
        return in_strips(
            -(-height // stride), row_bytes, x_BCHW, compute, dim=2, training=self.training
        )


class WindowAttention(nn.Module):
    """Self-attention inside a window with a learned bias per head and distance (|dy|, |dx|)."""

    attention_bias_idxs: Tensor

    def __init__(self, channels: int, *, heads: int, window: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(channels)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)
        self.attention_biases = nn.Parameter(torch.zeros(heads, window * window))
        # On the CPU by name: not in checkpoints, so it must exist in a model built without data.
        steps = torch.arange(window, device="cpu")
        y, x = torch.meshgrid(steps, steps, indexing="ij")
        y, x = y.flatten(), x.flatten()
        distance = (y[:, None] - y).abs() * window + (x[:, None] - x).abs()
        self.register_buffer("attention_bias_idxs", distance, persistent=False)

    def forward(self, x_BNC: Tensor) -> Tensor:
        b, n, c = x_BNC.shape
        # Public layout: per head its query, key and value, in that order.
        qkv = self.qkv(self.norm(x_BNC)).view(b, n, self.heads, 3, c // self.heads)
        q, k, v = qkv.permute(3, 0, 2, 1, 4).unbind(0)
        bias_HNN = self.attention_biases[:, self.attention_bias_idxs].to(q.dtype)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=bias_HNN[None])
        out: Tensor = self.proj(mixed.transpose(1, 2).reshape(b, n, c))
        return out


class BlockMlp(nn.Module):
    """Normalise, then two linear layers with GELU."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.fc1 = nn.Linear(channels, hidden)
        self.fc2 = nn.Linear(hidden, channels)

    def forward(self, x_BHWC: Tensor) -> Tensor:
        x_NC = x_BHWC.reshape(-1, x_BHWC.shape[-1])

        def compute(rows: Rows) -> Tensor:
            x = x_NC[rows[0] : rows[1]]
            out: Tensor = self.fc2(F.gelu(self.fc1(self.norm(x))))
            return out

        row_bytes = self.fc1.out_features * x_NC.element_size()
        out = in_strips(len(x_NC), row_bytes, x_NC, compute, dim=0, training=self.training)
        return out.view(x_BHWC.shape)


class TinyVitBlock(nn.Module):
    """Window attention, a depthwise convolution, an MLP."""

    def __init__(self, channels: int, *, heads: int, window: int, drop_path: float) -> None:
        super().__init__()
        self.window = window
        self.attn = WindowAttention(channels, heads=heads, window=window)
        self.local_conv = RowsConv(channels, channels, kernel=3, groups=channels)
        self.mlp = BlockMlp(channels, 4 * channels)
        self.drop_path = DropPath(drop_path)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        x_BHWC = x_BCHW.permute(0, 2, 3, 1)
        _, h, w, _ = x_BHWC.shape
        windows, padded_hw = to_windows(x_BHWC, self.window)
        mixed = self._attend(windows.flatten(1, 2)).view(windows.shape)
        mixed = from_windows(mixed, padded_hw=padded_hw, size_hw=(h, w))
        x_BHWC = x_BHWC + self.drop_path(mixed)
        x_BHWC = self._convolve(x_BHWC.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        out: Tensor = x_BHWC + self.drop_path(self.mlp(x_BHWC))
        return out.permute(0, 3, 1, 2)

    def _attend(self, windows_BNC: Tensor) -> Tensor:
        b, n, c = windows_BNC.shape
        return in_strips(
            b,
            n * 3 * c * windows_BNC.element_size(),
            windows_BNC,
            lambda rows: self.attn(windows_BNC[rows[0] : rows[1]]),
            dim=0,
            training=self.training,
        )

    def _convolve(self, x_BCHW: Tensor) -> Tensor:
        b, c, height, width = x_BCHW.shape

        def compute(rows: Rows) -> Tensor:
            top, bottom = self.local_conv.needed(rows, height)
            return self.local_conv.of_rows(x_BCHW[:, :, top:bottom], rows)

        row_bytes = b * c * width * x_BCHW.element_size()
        return in_strips(height, row_bytes, x_BCHW, compute, dim=2, training=self.training)


class TinyVitStage(nn.Module):
    """Blocks of one resolution and, but for the last stage, the step to the next."""

    def __init__(self, blocks: list[nn.Module], downsample: nn.Module | None) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.downsample = downsample

    def forward(self, x_BCHW: Tensor) -> Tensor:
        for block in self.blocks:
            x_BCHW = block(x_BCHW)
        if self.downsample is not None:
            x_BCHW = self.downsample(x_BCHW)
        return x_BCHW


class TinyVit(nn.Module):
    """Image encoder: (B, 3, S, S) normalised pixels to a (B, out_channels, S/16, S/16) embedding.

    S is any multiple of 16; no weight depends on it.
    """

    def __init__(
        self,
        *,
        widths: tuple[int, ...] = (64, 128, 160, 320),
        depths: tuple[int, ...] = (2, 2, 6, 2),
        heads: tuple[int, ...] = (2, 4, 5, 10),
        windows: tuple[int, ...] = (7, 7, 14, 7),
        out_channels: int = 256,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        self.patch_embed = ConvPatchEmbed(widths[0])
        rates = drop_path_rates(drop_path, sum(depths))
        strides = (2, 2, 1)
        stages = []
        for i, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            stage_rates, rates = rates[:depth], rates[depth:]
            blocks: list[nn.Module]
            if i == 0:
                blocks = [MobileConv(width, expansion=4, drop_path=r) for r in stage_rates]
            else:
                blocks = [
                    TinyVitBlock(width, heads=heads[i], window=windows[i], drop_path=r)
                    for r in stage_rates
                ]
            last = i == len(widths) - 1
            step = None if last else PatchMerging(width, widths[i + 1], stride=strides[i])
            stages.append(TinyVitStage(blocks, step))
        self.layers = nn.ModuleList(stages)
        self.neck = nn.Sequential(
            nn.Conv2d(widths[-1], out_channels, 1, bias=False),
            LayerNorm2d(out_channels),
            nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
            LayerNorm2d(out_channels),
        )
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        x = self.patch_embed(x_BCHW.contiguous(memory_format=torch.channels_last))
        for layer in self.layers:
            x = layer(x)
        return neck_in_strips(self.neck, x)
