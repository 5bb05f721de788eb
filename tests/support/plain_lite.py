"""The lite encoders restated plainly: one image, whole maps, weights by name."""

import math
from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor

MAPS = {1: 4, 2: 8, 4: 16, 6: 32}


class PlainLite:
    """weights: the state dict of a `LiteEncoder`."""

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        self.weights = weights

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(1, 3, S, S) normalised by SAM's mean and deviation: embedding, skips at 8 and 4."""
        mean = x.new_tensor([123.675, 116.28, 103.53]).view(3, 1, 1)
        deviation = x.new_tensor([58.395, 57.12, 57.375]).view(3, 1, 1)
        x = (x * deviation + mean - 127) / 128
        x = self.conv_norm("backbone.stem", x, stride=2).clamp(0, 6)
        maps = {}
        for stage, stride in enumerate((1, 2, 2, 2, 1, 2, 1)):
            block = 0
            while f"backbone.stages.{stage}.{block}.project.conv.weight" in self.weights:
                name = f"backbone.stages.{stage}.{block}"
                x = self.block(name, x, 1 if block else stride)
                block += 1
            if stage in MAPS:
                maps[MAPS[stage]] = x
        return self.neck(maps)

    def block(self, name: str, x: Tensor, stride: int) -> Tensor:
        hidden = x
        if f"{name}.expand.conv.weight" in self.weights:
            hidden = self.conv_norm(f"{name}.expand", x).clamp(0, 6)
        hidden = self.conv_norm(f"{name}.depthwise", hidden, stride, hidden.shape[1]).clamp(0, 6)
        out = self.conv_norm(f"{name}.project", hidden)
        return out + x if stride == 1 and out.shape == x.shape else out

    def conv_norm(self, name: str, x: Tensor, stride: int = 1, groups: int = 1) -> Tensor:
        """TensorFlow's "same" padding, then batch normalisation with the stored statistics."""
        weight = self.weights[f"{name}.conv.weight"]
        pads = []
        for side in (x.shape[3], x.shape[2]):
            reach = (math.ceil(side / stride) - 1) * stride + weight.shape[2]
            total = max(reach - side, 0)
            pads += [total // 2, total - total // 2]
        x = F.conv2d(F.pad(x, pads), weight, stride=stride, groups=groups)
        names = ("running_mean", "running_var", "weight", "bias")
        mean, variance, scale, shift = (self.weights[f"{name}.norm.{part}"] for part in names)
        return F.batch_norm(x, mean, variance, scale, shift, eps=1e-3)

    def neck(self, maps: Mapping[int, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        top = self.conv("lateral32", maps[32])
        for first in (0, 2):
            wide = F.gelu(self.conv(f"context.{first}", top, padding=2, groups=top.shape[1]))
            top = top + self.conv(f"context.{first + 1}", wide)
        x8 = self.conv("lateral8", maps[8])
        down = self.conv("down8", F.gelu(x8), padding=1, stride=2)
        x = self.conv("lateral16", maps[16]) + self.twice(top) + down
        x = F.gelu(self.norm("merge.1", self.conv("merge.0", x, padding=1)))
        embedding = self.norm("merge.4", self.conv("merge.3", x))
        p8 = F.gelu(x8 + self.twice(self.conv("top8", embedding)))
        skip4 = self.conv("skip4", maps[4]) + self.twice(self.conv("top4", p8))
        return embedding, self.conv("skip8", p8), skip4

    def conv(
        self, name: str, x: Tensor, *, padding: int = 0, stride: int = 1, groups: int = 1
    ) -> Tensor:
        weight = self.weights[f"neck.{name}.weight"]
        bias = self.weights.get(f"neck.{name}.bias")
        return F.conv2d(x, weight, bias, stride, padding, groups=groups)

    def norm(self, name: str, x: Tensor) -> Tensor:
        mean = x.mean(dim=1, keepdim=True)
        variance = x.var(dim=1, keepdim=True, unbiased=False)
        x = (x - mean) / (variance + 1e-6).sqrt()
        weight, bias = self.weights[f"neck.{name}.weight"], self.weights[f"neck.{name}.bias"]
        return x * weight[:, None, None] + bias[:, None, None]

    def twice(self, x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
