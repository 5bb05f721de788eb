"""The image encoder on an EfficientNet-Lite backbone ("lite0", "lite1", "lite2").

A neck brings the backbone's maps together into the usual embedding and into two finer maps, which
the mask decoder adds on its way up as in Ravi et al., "SAM 2" (2024), section 4: there small things
and outlines are seen that cells of 16 pixels do not hold. Both begin at zero, so that a decoder
that was trained without them starts as it was. Nothing depends on the size of the input.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sa_engine.model.encoders.efficientnet_lite import EfficientNetLite
from sa_engine.model.framing import PIXEL_MEAN, PIXEL_STD
from sa_engine.model.layers import LayerNorm2d
from sa_engine.model.sizes import LiteSize

"""The input's size is a multiple of the backbone's last stride."""


class PyramidNeck(nn.Module):
    """Maps of strides 4 to 32 to the embedding, (B, C, S/16, S/16), and the decoder's two skips."""

    def __init__(self, channels: dict[int, int], *, out_channels: int = 256) -> None:
        super().__init__()
        c, half = out_channels, out_channels // 2
        self.lateral32 = nn.Conv2d(channels[32], c, 1)
        self.lateral16 = nn.Conv2d(channels[16], c, 1)
        self.lateral8 = nn.Conv2d(channels[8], half, 1)
        # Two depthwise-separable steps on the coarsest map: each cell sees most of the picture.
        self.context = nn.Sequential(
            nn.Conv2d(c, c, 5, padding=2, groups=c),
            nn.Conv2d(c, c, 1),
            nn.Conv2d(c, c, 5, padding=2, groups=c),
            nn.Conv2d(c, c, 1),
        )
        self.down8 = nn.Conv2d(half, c, 3, 2, padding=1)
        self.merge = nn.Sequential(
            nn.Conv2d(c, c, 3, padding=1, bias=False),
            LayerNorm2d(c),
            nn.GELU(),
            nn.Conv2d(c, c, 1, bias=False),
            LayerNorm2d(c),
        )
        self.top8 = nn.Conv2d(c, half, 1)
        self.top4 = nn.Conv2d(half, c // 8, 1)
        self.skip8 = nn.Conv2d(half, c // 4, 1)
        self.skip4 = nn.Conv2d(channels[4], c // 8, 1)
        for last in (self.skip8, self.skip4, self.top4):
            for parameter in last.parameters():
                nn.init.zeros_(parameter)

    def forward(self, maps: dict[int, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """The embedding; the skips at stride 8, (B, C/4, ...), and at stride 4, (B, C/8, ...)."""
        x32 = self.lateral32(maps[32])
        wide1, mix1, wide2, mix2 = self.context
        x32 = x32 + mix1(F.gelu(wide1(x32)))
        x32 = x32 + mix2(F.gelu(wide2(x32)))
        x8 = self.lateral8(maps[8])
        x16 = self.lateral16(maps[16]) + _twice(x32) + self.down8(F.gelu(x8))
        embedding = self.merge(x16)
        p8 = F.gelu(x8 + _twice(self.top8(embedding)))
        return embedding, self.skip8(p8), self.skip4(maps[4]) + _twice(self.top4(p8))


def _twice(x_BCHW: Tensor) -> Tensor:
    """A map at twice its height and width."""
    return F.interpolate(x_BCHW, scale_factor=2.0, mode="bilinear", align_corners=False)


class LiteEncoder(nn.Module):
    """Normalised pixels (B, 3, S, S) to the embedding and the skips; see `PyramidNeck`."""

    pixel_scale: Tensor
    pixel_shift: Tensor

    def __init__(self, size: LiteSize, *, drop_path: float = 0.0, out_channels: int = 256) -> None:
        super().__init__()
        self.backbone = EfficientNetLite(size, drop_path=drop_path)
        self.neck = PyramidNeck(self.backbone.channels, out_channels=out_channels)
        # The backbone was trained on (RGB - 127) / 128. On the CPU by name: not in checkpoints, so
        # they must exist in a model built without data.
        mean, std = (torch.tensor(x, device="cpu").view(3, 1, 1) for x in (PIXEL_MEAN, PIXEL_STD))
        self.register_buffer("pixel_scale", std / 128, persistent=False)
        self.register_buffer("pixel_shift", (mean - 127) / 128, persistent=False)

    def forward(self, x_BCHW: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        maps = self.backbone(x_BCHW * self.pixel_scale + self.pixel_shift)
        out: tuple[Tensor, Tensor, Tensor] = self.neck(maps)
        return out
