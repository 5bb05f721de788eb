"""TinyViT against a plain restatement of the published encoder that reads weights by name."""

from collections.abc import Mapping

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sa_engine.model.encoders import strips
from sa_engine.model.encoders.tiny_vit import TinyVit
from sa_engine.model.variants import build_sam
from tests.support.weights import randomise

WIDTHS, HEADS, WINDOWS, DEPTHS = (64, 128, 160, 320), (2, 4, 5, 10), (7, 7, 14, 7), (2, 2, 6, 2)


class PlainTinyVit:
    """weights: the state dict of a `TinyVit` in evaluation."""

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        self.weights = weights

    def encode(self, x: Tensor) -> Tensor:
        x = F.gelu(self.conv_norm("patch_embed.seq.0", x, stride=2))
        x = self.conv_norm("patch_embed.seq.2", x, stride=2)
        for block in range(DEPTHS[0]):
            x = self.mobile_conv(f"layers.0.blocks.{block}", x)
        for stage in range(1, 4):
            # The step into a stage belongs to the stage before; the last one keeps the size.
            at = f"layers.{stage - 1}.downsample"
            x = F.gelu(self.conv_norm(f"{at}.conv1", x))
            stride = 1 if stage == 3 else 2
            x = F.gelu(self.conv_norm(f"{at}.conv2", x, stride=stride, groups=WIDTHS[stage]))
            x = self.conv_norm(f"{at}.conv3", x)
            for block in range(DEPTHS[stage]):
                x = self.block(f"layers.{stage}.blocks.{block}", x, stage)
        x = F.conv2d(x, self.weights["neck.0.weight"])
        x = self.norm_2d("neck.1", x)
        x = F.conv2d(x, self.weights["neck.2.weight"], padding=1)
        return self.norm_2d("neck.3", x)

    def conv_norm(self, name: str, x: Tensor, stride: int = 1, groups: int = 1) -> Tensor:
        weight = self.weights[f"{name}.c.weight"]
        x = F.conv2d(x, weight, stride=stride, padding=weight.shape[2] // 2, groups=groups)
        names = ("running_mean", "running_var", "weight", "bias")
        mean, variance, scale, shift = (self.weights[f"{name}.bn.{part}"] for part in names)
        return F.batch_norm(x, mean, variance, scale, shift, eps=1e-5)

    def norm_2d(self, name: str, x: Tensor) -> Tensor:
        mean = x.mean(dim=1, keepdim=True)
        variance = x.var(dim=1, keepdim=True, unbiased=False)
        x = (x - mean) / (variance + 1e-6).sqrt()
        weight, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        return x * weight[:, None, None] + bias[:, None, None]

    def mobile_conv(self, name: str, x: Tensor) -> Tensor:
        hidden = F.gelu(self.conv_norm(f"{name}.conv1", x))
        hidden = F.gelu(self.conv_norm(f"{name}.conv2", hidden, groups=hidden.shape[1]))
        return F.gelu(x + self.conv_norm(f"{name}.conv3", hidden))

    def block(self, name: str, x: Tensor, stage: int) -> Tensor:
        _, c, h, w = x.shape
        window = WINDOWS[stage]
        mixed = torch.zeros_like(x)
        for top in range(0, h, window):
            for left in range(0, w, window):
                piece = x[0, :, top : top + window, left : left + window]
                inside_h, inside_w = piece.shape[1:]
                # Zeros stand where a window leaves the map, and take part in the attention.
                full = torch.zeros(c, window, window)
                full[:, :inside_h, :inside_w] = piece
                out = self.attention(f"{name}.attn", full.flatten(1).t(), stage)
                out = out.t().view(c, window, window)[:, :inside_h, :inside_w]
                mixed[0, :, top : top + inside_h, left : left + inside_w] = out
        x = self.conv_norm(f"{name}.local_conv", x + mixed, groups=c)
        tokens = x.flatten(2).transpose(1, 2)
        hidden = F.gelu(self.linear(f"{name}.mlp.fc1", self.norm(f"{name}.mlp.norm", tokens)))
        tokens = tokens + self.linear(f"{name}.mlp.fc2", hidden)
        return tokens.transpose(1, 2).view(1, c, h, w)

    def attention(self, name: str, x_NC: Tensor, stage: int) -> Tensor:
        heads, window = HEADS[stage], WINDOWS[stage]
        width = x_NC.shape[1] // heads
        qkv = self.linear(f"{name}.qkv", self.norm(f"{name}.norm", x_NC))
        # Biases are numbered in the order in which a walk over all pairs meets their distances.
        cells = [(y, x) for y in range(window) for x in range(window)]
        numbers: dict[tuple[int, int], int] = {}
        index = [
            [
                numbers.setdefault((abs(y - key_y), abs(x - key_x)), len(numbers))
                for key_y, key_x in cells
            ]
            for y, x in cells
        ]
        mixed = []
        for head in range(heads):
            own = qkv[:, head * 3 * width : (head + 1) * 3 * width]
            q, k, v = own[:, :width], own[:, width : 2 * width], own[:, 2 * width :]
            bias = self.weights[f"{name}.attention_biases"][head][torch.tensor(index)]
            mixed.append((q @ k.t() / width**0.5 + bias).softmax(dim=1) @ v)
        return self.linear(f"{name}.proj", torch.cat(mixed, dim=1))

    def norm(self, name: str, x: Tensor) -> Tensor:
        weight, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        return F.layer_norm(x, weight.shape, weight, bias)

    def linear(self, name: str, x: Tensor) -> Tensor:
        return F.linear(x, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"])


@pytest.fixture(scope="module")
def encoder() -> TinyVit:
    encoder = TinyVit()
    randomise(encoder, seed=0)
    return encoder.eval()


@torch.no_grad()
@pytest.mark.parametrize("size", [64, 192])
def test_equals_the_published_encoder(encoder: TinyVit, size: int) -> None:
    image = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(1))
    found = encoder(image)
    assert found.shape == (1, 256, size // 16, size // 16)
    expected = PlainTinyVit(encoder.state_dict()).encode(image)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("strip_bytes", [1, 1 << 16])
def test_strips_change_nothing_but_rounding(
    encoder: TinyVit, strip_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = torch.randn(2, 3, 96, 96, generator=torch.Generator().manual_seed(3))
    monkeypatch.setattr(strips, "STRIP_BYTES", 1 << 40)
    monkeypatch.setattr(strips, "LEAST_STRIP_BYTES", 1 << 40)
    whole = encoder(images)
    monkeypatch.setattr(strips, "STRIP_BYTES", strip_bytes)
    monkeypatch.setattr(strips, "LEAST_STRIP_BYTES", 1)
    torch.testing.assert_close(encoder(images), whole, atol=1e-5, rtol=0)


@torch.no_grad()
def test_images_of_a_batch_do_not_mix(encoder: TinyVit) -> None:
    images = torch.randn(2, 3, 128, 128, generator=torch.Generator().manual_seed(2))
    together = encoder(images)
    alone = torch.cat([encoder(image[None]) for image in images])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


def test_training_moves_every_weight_and_statistic() -> None:
    encoder = TinyVit(drop_path=0.5)
    randomise(encoder, seed=3)
    before = {name: t.clone() for name, t in encoder.named_buffers() if "running" in name}
    encoder(torch.randn(2, 3, 64, 64)).square().mean().backward()
    assert [name for name, p in encoder.named_parameters() if p.grad is None] == []
    after = dict(encoder.named_buffers())
    assert all(not torch.equal(after[name], t) for name, t in before.items())


def conv_norm(name: str, channels: int, fan_in: int, kernel: int) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {f"{name}.c.weight": (channels, fan_in, kernel, kernel)}
    for part in ("weight", "bias", "running_mean", "running_var"):
        shapes[f"{name}.bn.{part}"] = (channels,)
    shapes[f"{name}.bn.num_batches_tracked"] = ()
    return shapes


def layer(name: str, *shape: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


def test_names_and_shapes_of_weights() -> None:
    """Those of the public mobile_sam.pt, less its unused classifier."""
    expected: dict[str, tuple[int, ...]] = {
        **conv_norm("patch_embed.seq.0", 32, 3, 3),
        **conv_norm("patch_embed.seq.2", 64, 32, 3),
    }
    for i in range(2):
        at = f"layers.0.blocks.{i}"
        expected |= conv_norm(f"{at}.conv1", 256, 64, 1)
        expected |= conv_norm(f"{at}.conv2", 256, 1, 3)
        expected |= conv_norm(f"{at}.conv3", 64, 256, 1)
    for stage in range(1, 4):
        width, at = WIDTHS[stage], f"layers.{stage - 1}.downsample"
        expected |= conv_norm(f"{at}.conv1", width, WIDTHS[stage - 1], 1)
        expected |= conv_norm(f"{at}.conv2", width, 1, 3)
        expected |= conv_norm(f"{at}.conv3", width, width, 1)
        for i in range(DEPTHS[stage]):
            at = f"layers.{stage}.blocks.{i}"
            expected |= layer(f"{at}.attn.norm", width)
            expected |= layer(f"{at}.attn.qkv", 3 * width, width)
            expected |= layer(f"{at}.attn.proj", width, width)
            expected[f"{at}.attn.attention_biases"] = (HEADS[stage], WINDOWS[stage] ** 2)
            expected |= conv_norm(f"{at}.local_conv", width, 1, 3)
            expected |= layer(f"{at}.mlp.norm", width)
            expected |= layer(f"{at}.mlp.fc1", 4 * width, width)
            expected |= layer(f"{at}.mlp.fc2", width, 4 * width)
    expected |= {"neck.0.weight": (256, 320, 1, 1), "neck.2.weight": (256, 256, 3, 3)}
    expected |= layer("neck.1", 256) | layer("neck.3", 256)
    found = build_sam("vit_t").image_encoder.state_dict()
    assert {name: tuple(t.shape) for name, t in found.items()} == expected
