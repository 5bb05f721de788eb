import numpy as np

from sa_engine.automask.config import GeneratorConfig
from sa_engine.automask.point_grid import even_grid, grids


def test_points_lie_in_the_middle_of_cells_row_by_row() -> None:
    np.testing.assert_allclose(
        even_grid(2), [[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75]]
    )


def test_layers_get_fewer_points_each() -> None:
    config = GeneratorConfig(points_per_side=9, crop_n_layers=2, crop_n_points_downscale_factor=2)
    assert [len(grid) for grid in grids(config)] == [81, 16, 4]


def test_explicit_grids_are_taken_as_they_are() -> None:
    config = GeneratorConfig(points_per_side=None, point_grids=(((0.1, 0.9), (0.5, 0.5)),))
    (grid,) = grids(config)
    np.testing.assert_array_equal(grid, [[0.1, 0.9], [0.5, 0.5]])
