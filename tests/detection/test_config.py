"""The strides that a network has."""

import pytest

from sa_engine.detection.config import DetectorConfig


@pytest.mark.parametrize(
    ("image_size", "finest", "strides"),
    [
        (224, None, (4, 8, 16, 32)),
        (512, None, (4, 8, 16, 32, 64)),
        (1024, None, (8, 16, 32, 64, 128)),
        (1024, 16, (16, 32, 64, 128)),
        (32, None, (4, 8, 16)),
    ],
)
def test_strides_follow_the_input(image_size: int, finest: int | None, strides: tuple[int, ...]):
    assert DetectorConfig(finest_stride=finest).strides(image_size) == strides


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"channels": 20}, "channels is 20; give a multiple of 8"),
        ({"head_layers": 0}, "head_layers is 0"),
        ({"finest_stride": 5}, "finest_stride is 5; give 4, 8 or 16"),
    ],
)
def test_values_out_of_range_are_named(changes: dict[str, int], message: str):
    with pytest.raises(ValueError, match=message):
        DetectorConfig(**changes)
