import pytest
import torch

from sa_engine.errors import UsageError
from sa_engine.model.encoders.efficientnet_lite import EfficientNetLite, SameConv, stage_sizes
from sa_engine.model.sizes import LITE_SIZES

# Channels and depths of the published sizes.
PUBLISHED = {
    "lite0": ((16, 24, 40, 80, 112, 192, 320), (1, 2, 2, 3, 3, 4, 1)),
    "lite1": ((16, 24, 40, 80, 112, 192, 320), (1, 3, 3, 4, 4, 5, 1)),
    "lite2": ((16, 24, 48, 88, 120, 208, 352), (1, 3, 3, 4, 4, 5, 1)),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_sizes_are_the_published_ones(name: str) -> None:
    channels, depths = PUBLISHED[name]
    stages = stage_sizes(LITE_SIZES[name])
    assert tuple(stage.channels for stage in stages) == channels
    assert tuple(stage.depth for stage in stages) == depths


@torch.no_grad()
def test_padding_at_stride_two_is_at_the_bottom_and_right() -> None:
    """As TensorFlow's "same": the first output sees no padding with a kernel of 3."""
    conv = SameConv(1, 1, kernel=3, stride=2, groups=1).eval()
    conv.norm.eps = 0.0
    conv.conv.weight.fill_(1.0)
    image = torch.arange(16.0).view(1, 1, 4, 4)
    expected = [
        [0 + 1 + 2 + 4 + 5 + 6 + 8 + 9 + 10, 2 + 3 + 6 + 7 + 10 + 11],
        [8 + 9 + 10 + 12 + 13 + 14, 10 + 11 + 14 + 15],
    ]
    assert conv(image)[0, 0].tolist() == expected


@torch.no_grad()
@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (5, 1), (3, 2), (5, 2)])
def test_rows_are_those_of_the_whole(kernel: int, stride: int) -> None:
    torch.manual_seed(0)
    conv = SameConv(4, 4, kernel=kernel, stride=stride, groups=4).eval()
    x = torch.randn(1, 4, 12, 8)
    whole = conv(x)
    for a in range(12 // stride):
        for b in range(a + 1, 12 // stride + 1):
            top, bottom = conv.needed((a, b), 12)
            part = conv.of_rows(x[:, :, top:bottom], (a, b), 12)
            torch.testing.assert_close(part, whole[:, :, a:b], atol=1e-6, rtol=0)


def test_statistics_never_move_and_frozen_stages_do_not_learn() -> None:
    backbone = EfficientNetLite(LITE_SIZES["lite0"], drop_path=0.2).train()
    before = {name: value.clone() for name, value in backbone.named_buffers()}
    backbone.freeze(3)
    maps = backbone(torch.randn(2, 3, 32, 32))
    assert {stride: tuple(x.shape) for stride, x in maps.items()} == {
        4: (2, 24, 8, 8),
        8: (2, 40, 4, 4),
        16: (2, 112, 2, 2),
        32: (2, 320, 1, 1),
    }
    sum(x.square().mean() for x in maps.values()).backward()
    for name, value in backbone.named_buffers():
        assert torch.equal(value, before[name]), name
    learned = {name.split(".")[1] for name, p in backbone.named_parameters() if p.grad is not None}
    assert learned == {"3", "4", "5", "6"}
    with pytest.raises(UsageError, match="has 7 stages, 8 cannot be frozen; give at most 7"):
        backbone.freeze(8)
