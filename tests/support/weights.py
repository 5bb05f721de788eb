"""Random weights that leave no part of a model without effect."""

import torch
from torch import nn


def randomise(module: nn.Module, seed: int, scale: float = 1.0) -> None:
    """Give every weight a random value, those too that usual initialisation leaves at zero or one.

    Matrices are scaled by their inputs, so that values neither fade nor explode.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
            if not tensor.is_floating_point() or "pixel_" in name:
                continue
            noise = torch.randn(tensor.shape, generator=generator)
            if name.endswith("running_var"):
                tensor.copy_(1 + noise.abs())
            elif tensor.dim() == 1 and name.endswith("weight"):
                tensor.copy_(1 + 0.2 * noise)
            elif tensor.dim() >= 2 and name.endswith("weight"):
                fan_in = tensor[0].numel() if "embed" not in name else 1
                tensor.copy_(scale * noise / fan_in**0.5)
            elif name.endswith("gaussian_matrix"):
                tensor.copy_(noise)
            else:
                tensor.copy_(0.3 * noise)
