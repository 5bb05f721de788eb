"""The lite encoders against a plain restatement that reads weights by name."""

import pytest
import torch

from sa_engine.model.encoders import strips
from sa_engine.model.encoders.lite import LiteEncoder
from sa_engine.model.sizes import LITE_SIZES
from sa_engine.model.variants import build_sam
from tests.support.plain_lite import PlainLite
from tests.support.weights import randomise


@pytest.fixture(scope="module")
def encoder() -> LiteEncoder:
    encoder = LiteEncoder(LITE_SIZES["lite2"])
    randomise(encoder, seed=0)
    return encoder.eval()


def noise(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
@pytest.mark.parametrize("size", [64, 160])
@pytest.mark.parametrize("training", [False, True], ids=["inference", "training"])
def test_equals_the_plain_encoder(encoder: LiteEncoder, size: int, training: bool) -> None:
    image = noise(1, 3, size, size, seed=1)
    found = encoder.train(training)(image)
    encoder.eval()
    assert [tuple(x.shape[1:]) for x in found] == [
        (256, size // 16, size // 16),
        (64, size // 8, size // 8),
        (32, size // 4, size // 4),
    ]
    for made, expected in zip(found, PlainLite(encoder.state_dict()).encode(image), strict=True):
        assert float((made - expected).abs().max() / expected.std()) < 1e-4


@torch.no_grad()
@pytest.mark.parametrize("strip_bytes", [1, 1 << 16])
def test_strips_change_nothing_but_rounding(
    encoder: LiteEncoder, strip_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = noise(2, 3, 96, 96, seed=3)
    monkeypatch.setattr(strips, "STRIP_BYTES", 1 << 40)
    monkeypatch.setattr(strips, "LEAST_STRIP_BYTES", 1 << 40)
    whole = encoder(images)
    monkeypatch.setattr(strips, "STRIP_BYTES", strip_bytes)
    monkeypatch.setattr(strips, "LEAST_STRIP_BYTES", 1)
    for cut, expected in zip(encoder(images), whole, strict=True):
        torch.testing.assert_close(cut, expected, atol=1e-4, rtol=0)


@torch.no_grad()
def test_images_of_a_batch_do_not_mix(encoder: LiteEncoder) -> None:
    images = noise(2, 3, 64, 64, seed=2)
    together = encoder(images)
    for i, image in enumerate(images):
        for one, both in zip(encoder(image[None]), together, strict=True):
            torch.testing.assert_close(one[0], both[i], atol=1e-4, rtol=0)


@pytest.mark.parametrize("autocast", [False, True], ids=["float32", "bfloat16"])
def test_training_reaches_every_weight(encoder: LiteEncoder, autocast: bool) -> None:
    image = noise(1, 3, 64, 64, seed=4)
    encoder.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        made = encoder.train()(image)
        sum(x.float().square().mean() for x in made).backward()
    encoder.eval()
    assert [name for name, p in encoder.named_parameters() if p.grad is None] == []
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None
        assert bool(parameter.grad.isfinite().all()), name
    encoder.zero_grad()


@torch.no_grad()
def test_skips_begin_at_zero() -> None:
    sam = build_sam("lite0", 64).eval()
    embedding = sam.encode_image(noise(1, 3, 64, 64, seed=5))
    assert embedding.eighth_BCHW is not None and embedding.quarter_BCHW is not None
    assert not embedding.eighth_BCHW.any() and not embedding.quarter_BCHW.any()
    assert float(embedding.coarse_BCHW.std()) > 0.1
