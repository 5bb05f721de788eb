"""The detector's network: a small feature pyramid and an anchor-free head, one category, "object".

Every place of every map answers with one box and one score. Boxes are distances to the four sides
(Tian et al., "FCOS", 2019); the score is trained to be the box's IoU with an object
(`training.detector_losses`), so that it ranks boxes by how well they fit, and no separate
centre-ness is needed. Convolutions are depthwise separable: the whole costs about a tenth of the
smallest encoder.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sa_engine.detection.config import DetectorConfig
from sa_engine.detection.encoder import EMBEDDING_STRIDE, EncodedMaps

_PRIOR = 0.01
"""Score of every place before training."""
_FIRST_REACH = 2.0
"""Distance to a box's sides before training, in strides."""
_MOST = 7.0
"""Greatest logarithm of a distance in strides."""


@dataclass(frozen=True, slots=True)
class Places:
    """All L places of all maps, finest first, row by row.

    centres_L2: (x, y) in pixels of the model's input.
    strides_L: pixels between neighbours.
    """

    centres_L2: Tensor
    strides_L: Tensor


@dataclass(frozen=True, slots=True)
class Answers:
    """What the places say about B images.

    score_logits_BL: of being the best place for an object, with the box's IoU as the target.
    boxes_BL4: (x0, y0, x1, y1) in pixels of the model's input, not clipped.
    """

    score_logits_BL: Tensor
    boxes_BL4: Tensor
    places: Places


class Separable(nn.Module):
    """A depthwise convolution, a pointwise one, layer normalisation, SiLU: (B, H, W, C) maps.

    Channels stand last, so that the pointwise convolution is a plain matrix product.
    """

    def __init__(self, channels: int, *, stride: int = 1) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 3, stride, 1, groups=channels, bias=False)
        self.pointwise = nn.Linear(channels, channels, bias=False)
        self.norm = nn.LayerNorm(channels)

    def forward(self, x_BHWC: Tensor) -> Tensor:
        x_BHWC = self.depthwise(x_BHWC.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return F.silu(self.norm(self.pointwise(x_BHWC)))


class Lateral(nn.Module):
    """One of the encoder's maps, (B, C, H, W), brought to the pyramid's width: (B, H, W, C)."""

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(channels_in, channels, bias=False)
        self.norm = nn.LayerNorm(channels)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        out: Tensor = self.norm(self.linear(x_BCHW.float().permute(0, 2, 3, 1)))
        return out


class Detector(nn.Module):
    """The trainable part; float32, whatever the encoder's precision.

    image_size: side of the model's square input, pixels.
    embedding_channels: of the encoder's embedding.
    finer_channels: of the encoder's own finer maps by stride; see `encoder.finer_channels`.
    """

    def __init__(
        self,
        config: DetectorConfig,
        *,
        image_size: int,
        embedding_channels: int,
        finer_channels: dict[int, int],
    ) -> None:
        super().__init__()
        self.config = config
        self.image_size = image_size
        self.strides = config.strides(image_size)
        width = config.channels
        inputs = {s: c for s, c in finer_channels.items() if s >= self.strides[0]}
        inputs[EMBEDDING_STRIDE] = embedding_channels
        self.laterals = nn.ModuleDict({str(s): Lateral(c, width) for s, c in inputs.items()})
        self.merge = nn.ModuleDict(
            {str(s): Separable(width) for s in self.strides if s <= EMBEDDING_STRIDE}
        )
        self.reduce = nn.ModuleDict(
            {str(s): Separable(width, stride=2) for s in self.strides if s > EMBEDDING_STRIDE}
        )
        self.head = nn.Sequential(*(Separable(width) for _ in range(config.head_layers)))
        self.score = nn.Linear(width, 1)
        self.sides = nn.Linear(width, 4)
        self.scales = nn.Parameter(torch.ones(len(self.strides)))
        nn.init.constant_(self.score.bias, -math.log((1 - _PRIOR) / _PRIOR))
        nn.init.constant_(self.sides.bias, math.log(_FIRST_REACH))
        for last in (self.score, self.sides):
            nn.init.normal_(last.weight, std=0.01)

    def forward(self, encoded: EncodedMaps) -> Answers:
        """Scores and boxes at all places."""
        maps = self._pyramid(encoded)
        logits, boxes = [], []
        places = self.places(maps[0].device)
        for i, (stride, x) in enumerate(zip(self.strides, maps, strict=True)):
            x = self.head(x)
            logits.append(self.score(x).flatten(1))
            sides_BHW4 = (self.sides(x) * self.scales[i]).clamp(max=_MOST).exp() * stride
            boxes.append(sides_BHW4.flatten(1, 2))
        sides_BL4 = torch.cat(boxes, dim=1)
        centres = places.centres_L2
        boxes_BL4 = torch.cat([centres - sides_BL4[..., :2], centres + sides_BL4[..., 2:]], dim=-1)
        return Answers(torch.cat(logits, dim=1), boxes_BL4, places)

    def places(self, device: torch.device) -> Places:
        """The places of all maps."""
        centres, strides = [], []
        for stride in self.strides:
            steps = torch.arange(-(-self.image_size // stride), device=device, dtype=torch.float32)
            y, x = torch.meshgrid(steps, steps, indexing="ij")
            centres.append((torch.stack([x, y], dim=-1).view(-1, 2) + 0.5) * stride)
            strides.append(torch.full((len(centres[-1]),), float(stride), device=device))
        return Places(torch.cat(centres), torch.cat(strides))

    def _pyramid(self, encoded: EncodedMaps) -> list[Tensor]:
        """Maps of `strides`, finest first, (B, H, W, C) each."""
        inputs = {**encoded.finer, EMBEDDING_STRIDE: encoded.embedding.coarse_BCHW}
        top = self.laterals[str(EMBEDDING_STRIDE)](inputs[EMBEDDING_STRIDE])
        maps = [self.merge[str(EMBEDDING_STRIDE)](top)]
        for stride in sorted((s for s in self.strides if s < EMBEDDING_STRIDE), reverse=True):
            x = F.interpolate(maps[0].permute(0, 3, 1, 2), scale_factor=2.0, mode="nearest")
            x = x.permute(0, 2, 3, 1)
            if str(stride) in self.laterals:
                x = x + self.laterals[str(stride)](inputs[stride])
            maps.insert(0, self.merge[str(stride)](x))
        for stride in self.strides:
            if stride > EMBEDDING_STRIDE:
                maps.append(self.reduce[str(stride)](maps[-1]))
        return maps
