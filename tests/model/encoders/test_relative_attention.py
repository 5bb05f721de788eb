from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from sa_engine.model.encoders import relative_attention
from sa_engine.model.encoders.relative_attention import attend, attend_by_channels, attend_by_tiles

H, W, D = 6, 5, 4


def by_definition(q: Tensor, k: Tensor, v: Tensor, rel_HHD: Tensor, rel_WWD: Tensor) -> Tensor:
    """Every score by itself."""
    out = torch.empty_like(v)
    for b in range(q.shape[0]):
        for head in range(q.shape[1]):
            scores = torch.empty(H * W, H * W)
            for i in range(H * W):
                for j in range(H * W):
                    (y, x), (key_y, key_x) = divmod(i, W), divmod(j, W)
                    relative = rel_HHD[y, key_y] + rel_WWD[x, key_x]
                    scores[i, j] = q[b, head, i] @ (k[b, head, j] / D**0.5 + relative)
            out[b, head] = scores.softmax(dim=1) @ v[b, head]
    return out


@pytest.fixture(scope="module")
def case() -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    q, k, v = torch.randn(3, 3, 2, H * W, D, generator=generator)
    return (
        q,
        k,
        v,
        torch.randn(H, H, D, generator=generator),
        torch.randn(W, W, D, generator=generator),
    )


@pytest.fixture(scope="module")
def expected(case: tuple[Tensor, ...]) -> Tensor:
    return by_definition(*case)


@pytest.mark.parametrize(
    ("way", "tile_biases"),
    [
        (attend, 2**21),
        (attend_by_tiles, 2**21),
        (attend_by_tiles, 2 * 2 * (H * W) ** 2),  # two windows at a time
        (attend_by_tiles, 2 * 4 * W * H * W),  # four rows of one image, then two
        (attend_by_tiles, 1),  # one row
        (attend_by_channels, 2**21),
    ],
)
def test_equals_the_definition(
    case: tuple[Tensor, ...],
    expected: Tensor,
    monkeypatch: pytest.MonkeyPatch,
    way: Callable[..., Tensor],
    tile_biases: int,
) -> None:
    monkeypatch.setattr(relative_attention, "TILE_BIASES", tile_biases)
    q, k, v, rel_HHD, rel_WWD = case
    found = way(q, k, v, rel_HHD=rel_HHD, rel_WWD=rel_WWD)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
