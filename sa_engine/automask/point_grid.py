"""Grids of point prompts, even over the unit square."""

import numpy as np
from numpy.typing import NDArray

from sa_engine.automask.config import GeneratorConfig

Points = NDArray[np.float64]
"""(P, 2), x and y as shares of the width and height, [0, 1]."""


def even_grid(per_side: int) -> Points:
    """per_side² points at (k + 0.5) / per_side, row by row."""
    offset = 1 / (2 * per_side)
    along = np.linspace(offset, 1 - offset, per_side)
    x, y = np.meshgrid(along, along)
    return np.stack([x, y], axis=-1).reshape(-1, 2)


def grids(config: GeneratorConfig) -> tuple[Points, ...]:
    """The points of each layer: the whole image first, then the layers of crops."""
    if config.point_grids is not None:
        return tuple(np.array(grid, dtype=np.float64).reshape(-1, 2) for grid in config.point_grids)
    assert config.points_per_side is not None  # checked by the configuration
    factor = config.crop_n_points_downscale_factor
    return tuple(
        even_grid(config.points_per_side // factor**layer)
        for layer in range(config.crop_n_layers + 1)
    )
