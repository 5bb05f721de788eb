"""The EfficientNet-Lite image backbone: a picture to maps of strides 4, 8, 16 and 32.

Source: Tan and Le, "EfficientNet" (ICML 2019); the "lite" sizes of its authors' TPU models: no
squeeze-and-excitation, ReLU6, a stem and a last stage that are not scaled. Convolutions pad as
TensorFlow's "same" does, which at stride 2 is one row more at the bottom than at the top.

Batch normalisation has the statistics of the ImageNet training for good, in training, too: batches
are small here. So each is an affine map that is folded into its convolution.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sa_engine.errors import UsageError
from sa_engine.model.encoders.strips import Rows, in_strips
from sa_engine.model.layers import DropPath, drop_path_rates
from sa_engine.model.sizes import LiteSize

STEM_CHANNELS = 32
# Expansion, channels, blocks, kernel, stride of each stage before scaling.
_STAGES = (
    (1, 16, 1, 3, 1),
    (6, 24, 2, 3, 2),
    (6, 40, 2, 5, 2),
    (6, 80, 3, 3, 2),
    (6, 112, 3, 5, 1),
    (6, 192, 4, 5, 2),
    (6, 320, 1, 3, 1),
)
_MAPS = {4: 1, 8: 2, 16: 4, 32: 6}
"""The stage whose output is the map of a stride."""


@dataclass(frozen=True, slots=True)
class StageSize:
    """One stage: its blocks' hidden channels as a multiple of their input's, and the rest."""

    expansion: int
    channels: int
    depth: int
    kernel: int
    stride: int


def stage_sizes(size: LiteSize) -> tuple[StageSize, ...]:
    """The stages of a size. Channels are multiples of 8; the first and last keep their depth."""
    last = len(_STAGES) - 1
    return tuple(
        StageSize(
            expansion,
            _multiple_of_8(channels * size.width),
            depth if i in (0, last) else math.ceil(depth * size.depth),
            kernel,
            stride,
        )
        for i, (expansion, channels, depth, kernel, stride) in enumerate(_STAGES)
    )


def _multiple_of_8(channels: float) -> int:
    """The nearest multiple of 8 that loses at most a tenth."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * channels else rounded + 8


class FrozenNorm(nn.Module):
    """Batch normalisation by statistics that never move; weight and bias learn."""

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, eps: float = 1e-3) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))
        self.eps = eps

    def fold(self, kernel: Tensor) -> tuple[Tensor, Tensor]:
        """The weight and bias, float32, of the convolution by `kernel` with this behind it."""
        scale = self.weight * torch.rsqrt(self.running_var + self.eps)
        return kernel.float() * scale[:, None, None, None], self.bias - self.running_mean * scale


class SameConv(nn.Module):
    """A convolution with TensorFlow's "same" padding and its normalisation, in one.

    Heights and widths are multiples of the stride.
    """

    def __init__(
        self, channels_in: int, channels_out: int, *, kernel: int = 1, stride: int = 1, groups: int
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, kernel, stride, groups=groups, bias=False)
        self.norm = FrozenNorm(channels_out)
        self.kernel, self.stride, self.groups = kernel, stride, groups
        self._before = (kernel - stride) // 2
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self.of_rows(x_BCHW, (0, x_BCHW.shape[2] // self.stride), x_BCHW.shape[2])

    def needed(self, rows: Rows, height: int) -> Rows:
        """The input's rows, of `height`, that `of_rows` wants for these rows of the output."""
        first, stop = self._reach(rows)
        return max(first, 0), min(stop, height)

    def of_rows(self, x_BCHW: Tensor, rows: Rows, height: int) -> Tensor:
        """Rows of the output from the input's rows that `needed` names."""
        weight, bias = self.norm.fold(self.conv.weight)
        if self.kernel == 1:
            # Channels lie last in memory: a plain matrix product.
            x_BHWC = x_BCHW.permute(0, 2, 3, 1)
            out_BHWC = F.linear(x_BHWC, weight[:, :, 0, 0].to(x_BCHW.dtype), bias.to(x_BCHW.dtype))
            return out_BHWC.permute(0, 3, 1, 2)
        first, stop = self._reach(rows)
        above, below = max(-first, 0), max(stop - height, 0)
        left, right = self._before, self.kernel - self.stride - self._before
        padding = (above, left)
        if (above, left) != (below, right):
            x_BCHW, padding = F.pad(x_BCHW, (left, right, above, below)), (0, 0)
        if self.groups > 1 and self.training and x_BCHW.device.type == "cpu":
            # In bfloat16 a CPU takes four times as long for the backward pass of these.
            with torch.autocast("cpu", enabled=False):
                return F.conv2d(x_BCHW.float(), weight, bias, self.stride, padding, 1, self.groups)
        weight, bias = weight.to(x_BCHW.dtype), bias.to(x_BCHW.dtype)
        return F.conv2d(x_BCHW, weight, bias, self.stride, padding, 1, self.groups)

    def _reach(self, rows: Rows) -> Rows:
        """The input's rows behind rows of the output, beyond the map where padding is."""
        first = rows[0] * self.stride - self._before
        return first, (rows[1] - 1) * self.stride - self._before + self.kernel


class InvertedBlock(nn.Module):
    """Expand, convolve each channel, project; with a residual where input and output fit."""

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        *,
        expansion: int,
        kernel: int,
        stride: int,
        drop_path: float,
    ) -> None:
        super().__init__()
        hidden = channels_in * expansion
        self.expand = SameConv(channels_in, hidden, groups=1) if expansion > 1 else None
        self.depthwise = SameConv(hidden, hidden, kernel=kernel, stride=stride, groups=hidden)
        self.project = SameConv(hidden, channels_out, groups=1)
        self.residual = stride == 1 and channels_in == channels_out
        self.drop_path = DropPath(drop_path)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        b, _, height, width = x_BCHW.shape
        stride = self.depthwise.stride

        def compute(rows: Rows) -> Tensor:
            top, bottom = self.depthwise.needed(rows, height)
            x = x_BCHW[:, :, top:bottom]
            if self.expand is not None:
                x = F.relu6(self.expand(x))
            x = F.relu6(self.depthwise.of_rows(x, rows, height))
            out: Tensor = self.project(x)
            if self.residual:
                out = x_BCHW[:, :, rows[0] : rows[1]] + self.drop_path(out)
            return out

        row_bytes = b * self.depthwise.groups * width * stride * x_BCHW.element_size()
        made = height // stride
        return in_strips(made, row_bytes, x_BCHW, compute, dim=2, training=self.training)


class EfficientNetLite(nn.Module):
    """(B, 3, S, S) pixels, (RGB - 127) / 128, to maps by stride; S is a multiple of 32."""

    def __init__(self, size: LiteSize, *, drop_path: float = 0.0) -> None:
        super().__init__()
        self.stem = SameConv(3, STEM_CHANNELS, kernel=3, stride=2, groups=1)
        sizes = stage_sizes(size)
        rates = iter(drop_path_rates(drop_path, sum(stage.depth for stage in sizes)))
        stages, channels = [], STEM_CHANNELS
        for stage in sizes:
            blocks = []
            for i in range(stage.depth):
                blocks.append(
                    InvertedBlock(
                        channels,
                        stage.channels,
                        expansion=stage.expansion,
                        kernel=stage.kernel,
                        stride=1 if i else stage.stride,
                        drop_path=next(rates),
                    )
                )
                channels = stage.channels
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.ModuleList(stages)
        self.channels = {stride: sizes[stage].channels for stride, stage in _MAPS.items()}

    def freeze(self, stages: int) -> None:
        """Let the stem and the first `stages` stages learn no more.

        Raises UsageError if there are fewer.
        """
        if stages > len(self.stages):
            raise UsageError(
                f"the backbone has {len(self.stages)} stages, {stages} cannot be frozen; "
                f"give at most {len(self.stages)}"
            )
        self.stem.requires_grad_(False)
        for stage in self.stages[:stages]:
            stage.requires_grad_(False)

    def forward(self, x_BCHW: Tensor) -> dict[int, Tensor]:
        """The maps of strides 4, 8, 16 and 32; channels lie last in memory."""
        x = self._begin(x_BCHW.contiguous(memory_format=torch.channels_last))
        outputs = []
        for stage in self.stages:
            x = stage(x)
            outputs.append(x)
        return {stride: outputs[stage] for stride, stage in _MAPS.items()}

    def _begin(self, x_BCHW: Tensor) -> Tensor:
        b, _, height, width = x_BCHW.shape

        def compute(rows: Rows) -> Tensor:
            top, bottom = self.stem.needed(rows, height)
            return F.relu6(self.stem.of_rows(x_BCHW[:, :, top:bottom], rows, height))

        row_bytes = b * STEM_CHANNELS * (width // 2) * x_BCHW.element_size()
        return in_strips(height // 2, row_bytes, x_BCHW, compute, dim=2, training=self.training)
