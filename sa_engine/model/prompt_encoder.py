"""Prompts to tokens: random Fourier positions plus learned types; masks by convolutions.

Source: "Segment Anything", appendix A, "Prompt encoder".
"""

import math

import torch
from torch import Tensor, nn

from sa_engine.model.layers import LayerNorm2d
from sa_engine.model.prompts import PADDING, Prompts


class FourierPositions(nn.Module):
    """Sines and cosines of random projections of a position."""

    positional_encoding_gaussian_matrix: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        matrix = torch.empty(2, channels // 2).normal_()
        self.register_buffer("positional_encoding_gaussian_matrix", matrix)

    def forward(self, xy: Tensor) -> Tensor:
        """xy: (..., 2) in [0, 1] of the model's input frame, float32. Returns (..., C)."""
        from_centre = 2 * xy - 1
        of_x, of_y = self.positional_encoding_gaussian_matrix
        # Not a matrix product: autocast and TF32 would round the position itself.
        angles = 2 * math.pi * (from_centre[..., :1] * of_x + from_centre[..., 1:] * of_y)
        return torch.cat([angles.sin(), angles.cos()], dim=-1)


class PromptEncoder(nn.Module):
    """Embeds prompts as sparse tokens (points, boxes) and a dense map (masks)."""

    def __init__(self, *, image_size: int, channels: int = 256, mask_channels: int = 16) -> None:
        super().__init__()
        self.image_size = image_size
        self.grid = image_size // 16
        self.pe_layer = FourierPositions(channels)
        # Background point, foreground point, first corner of a box, second corner.
        self.point_embeddings = nn.ModuleList(nn.Embedding(1, channels) for _ in range(4))
        self.not_a_point_embed = nn.Embedding(1, channels)
        self.mask_downscaling = nn.Sequential(
            nn.Conv2d(1, mask_channels // 4, 2, 2),
            LayerNorm2d(mask_channels // 4),
            nn.GELU(),
            nn.Conv2d(mask_channels // 4, mask_channels, 2, 2),
            LayerNorm2d(mask_channels),
            nn.GELU(),
            nn.Conv2d(mask_channels, channels, 1),
        )
        self.no_mask_embed = nn.Embedding(1, channels)

    def image_pe(self) -> Tensor:
        """Positional encoding of the image embedding's cells, (1, C, S/16, S/16)."""
        matrix = self.pe_layer.positional_encoding_gaussian_matrix
        cells = torch.arange(self.grid, device=matrix.device, dtype=torch.float32)
        y, x = torch.meshgrid((cells + 0.5) / self.grid, (cells + 0.5) / self.grid, indexing="ij")
        pe_HWC: Tensor = self.pe_layer(torch.stack([x, y], dim=-1))
        return pe_HWC.permute(2, 0, 1)[None]

    def forward(self, prompts: Prompts) -> tuple[Tensor, Tensor]:
        """Returns the sparse tokens (P, T, C) and the dense embedding (P, C, S/16, S/16).

        Prompts without masks share one dense embedding, (1, C, 1, 1). As in the published model, a
        padding point follows the points where there is no box (`Prompts.padded` says that it is
        among them).
        """
        tokens = []
        if prompts.points_PN2 is not None and prompts.labels_PN is not None:
            tokens.append(self._embed_points(prompts.points_PN2, prompts.labels_PN))
            if prompts.boxes_P4 is None and not prompts.padded:
                padding = self.not_a_point_embed.weight
                tokens.append(padding[None].expand(len(prompts), -1, -1))
        if prompts.boxes_P4 is not None:
            corners = prompts.boxes_P4.view(-1, 2, 2)
            labels = torch.tensor([2, 3], device=corners.device).expand(len(corners), 2)
            tokens.append(self._embed_points(corners, labels))
        no_mask = self.no_mask_embed.weight
        sparse = (
            torch.cat(tokens, dim=1)
            if tokens
            else no_mask.new_empty(len(prompts), 0, no_mask.shape[1])
        )
        if prompts.masks_P1HW is None:
            return sparse, no_mask[:, :, None, None]
        return sparse, self.mask_downscaling(prompts.masks_P1HW)

    def _embed_points(self, points_PN2: Tensor, labels_PN: Tensor) -> Tensor:
        # A coordinate names a pixel; its centre is half a pixel on.
        positions: Tensor = self.pe_layer((points_PN2.float() + 0.5) / self.image_size)
        kinds = (self.not_a_point_embed, *self.point_embeddings)
        types = torch.cat([kind.weight for kind in kinds if isinstance(kind, nn.Embedding)])
        positions = positions.masked_fill((labels_PN == PADDING)[..., None], 0.0)
        return positions + types[labels_PN.long() + 1]
