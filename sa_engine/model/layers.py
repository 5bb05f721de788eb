"""Layers that the encoders and the decoder have in common.

Legend of shape suffixes in this package: B images, P prompts, N image tokens (the
embedding's H·W), n those of a tile, T prompt tokens, C channels, H rows or heads, W columns,
D channels per head, R heads·T.
"""

import itertools
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class LayerNorm2d(nn.Module):
    """Layer normalisation over the channels of a (B, C, H, W) map."""

    def __init__(self, channels: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, x_BCHW: Tensor) -> Tensor:
        x_BHWC = x_BCHW.permute(0, 2, 3, 1)
        normed = F.layer_norm(x_BHWC, self.weight.shape, self.weight, self.bias, self.eps)
        return normed.permute(0, 3, 1, 2)


class TokenMlp(nn.Module):
    """Two linear layers with an activation between them."""

    def __init__(self, channels: int, hidden: int, activation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.lin1 = nn.Linear(channels, hidden)
        self.lin2 = nn.Linear(hidden, channels)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.lin2(self.activation(self.lin1(x)))
        return out


class HeadMlp(nn.Module):
    """Linear layers with ReLU between them, the last one linear."""

    def __init__(self, channels_in: int, hidden: int, channels_out: int, depth: int) -> None:
        super().__init__()
        widths = [channels_in, *[hidden] * (depth - 1), channels_out]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(widths))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers[:-1]:
            x = F.relu(layer(x))
        out: Tensor = self.layers[-1](x)
        return out


class DropPath(nn.Module):
    """Stochastic depth: while training, leave out an image's branch with probability `rate`."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, branch: Tensor) -> Tensor:
        if not self.training or self.rate == 0.0:
            return branch
        shape = (branch.shape[0],) + (1,) * (branch.dim() - 1)
        kept = torch.empty(shape, device=branch.device).bernoulli_(1.0 - self.rate)
        return branch * (kept / (1.0 - self.rate)).to(branch.dtype)


def drop_path_rates(last: float, depth: int) -> list[float]:
    """Stochastic depth per block, rising evenly from 0 to `last`."""
    return [last * i / max(depth - 1, 1) for i in range(depth)]


def to_windows(x_BHWC: Tensor, window: int) -> tuple[Tensor, tuple[int, int]]:
    """Cut a map into square windows, padded with zeros at the right and bottom.

    Returns the windows (B·rows·columns, window, window, C) and the padded (H, W).
    """
    b, h, w, c = x_BHWC.shape
    pad_h, pad_w = -h % window, -w % window
    if pad_h or pad_w:
        x_BHWC = F.pad(x_BHWC, (0, 0, 0, pad_w, 0, pad_h))
    rows, columns = (h + pad_h) // window, (w + pad_w) // window
    cut = x_BHWC.view(b, rows, window, columns, window, c).transpose(2, 3)
    return cut.reshape(-1, window, window, c), (h + pad_h, w + pad_w)


def from_windows(
    windows: Tensor, *, padded_hw: tuple[int, int], size_hw: tuple[int, int]
) -> Tensor:
    """Undo `to_windows`: (B, H, W, C), the padding cut off."""
    window, c = windows.shape[1], windows.shape[-1]
    rows, columns = padded_hw[0] // window, padded_hw[1] // window
    x = windows.view(-1, rows, columns, window, window, c).transpose(2, 3)
    x = x.reshape(-1, padded_hw[0], padded_hw[1], c)
    return x[:, : size_hw[0], : size_hw[1]]
