"""Parameter groups, schedules and the moving average."""

import math
from typing import Any

import pytest
import torch
from torch import nn

from sa_engine.model.variants import build_sam
from sa_engine.training.muon import MATRIX, orthogonalise
from sa_engine.training.optim_config import Algorithm, OptimConfig, Schedule
from sa_engine.training.optimizer import MovingAverage, build_optimizer, encoder_depths, set_lr


def test_depths_rise_from_patches_to_neck():
    depths = encoder_depths(build_sam("vit_t", image_size=64))
    # 2 + 2 + 6 + 2 blocks, then the neck.
    assert depths["image_encoder.patch_embed.seq.0.c.weight"] == 0
    assert depths["image_encoder.layers.0.blocks.0.conv1.c.weight"] == 1
    assert depths["image_encoder.layers.2.blocks.5.mlp.fc1.weight"] == 10
    assert depths["image_encoder.layers.2.downsample.conv1.c.weight"] == 10
    assert depths["image_encoder.layers.3.blocks.1.mlp.fc1.weight"] == 12
    assert depths["image_encoder.neck.0.weight"] == 13


def test_depths_of_a_lite_encoder_rise_from_stem_to_neck():
    depths = encoder_depths(build_sam("lite2", image_size=64))
    # 1 + 3 + 3 + 4 + 4 + 5 + 1 blocks, then the neck.
    assert depths["image_encoder.backbone.stem.conv.weight"] == 0
    assert depths["image_encoder.backbone.stages.0.0.project.conv.weight"] == 1
    assert depths["image_encoder.backbone.stages.2.1.expand.norm.bias"] == 6
    assert depths["image_encoder.backbone.stages.6.0.project.conv.weight"] == 21
    assert depths["image_encoder.neck.skip8.weight"] == 22


def test_parts_have_their_share_of_the_rate():
    sam = build_sam("lite0", image_size=64)
    sam.freeze_stages(1)
    config = OptimConfig(lr=1.0, layer_decay=1.0, backbone_lr_scale=0.25, decoder_lr_scale=0.5)
    optimizer = build_optimizer(sam, config)
    set_lr(optimizer, 8.0)
    names = {id(p): n for n, p in sam.named_parameters()}
    lr = {names[id(p)]: g["lr"] for g in optimizer.param_groups for p in g["params"]}
    assert lr["image_encoder.backbone.stages.1.0.expand.conv.weight"] == 2.0
    assert lr["image_encoder.neck.merge.0.weight"] == 8.0
    assert lr["mask_decoder.iou_token.weight"] == lr["prompt_encoder.no_mask_embed.weight"] == 4.0
    assert "image_encoder.backbone.stem.conv.weight" not in lr
    with pytest.raises(ValueError, match=r"decoder_lr_scale is 0; give a value above 0"):
        OptimConfig(decoder_lr_scale=0)


def test_layer_decay_slows_early_layers():
    sam = build_sam("vit_t", image_size=64)
    optimizer = build_optimizer(sam, OptimConfig(lr=1.0, layer_decay=0.8))
    set_lr(optimizer, 1.0)
    names = {id(p): n for n, p in sam.named_parameters()}
    lr = {names[id(p)]: g["lr"] for g in optimizer.param_groups for p in g["params"]}
    assert set(lr) == {n for n, p in sam.named_parameters() if p.requires_grad}
    assert lr["image_encoder.patch_embed.seq.0.c.weight"] == pytest.approx(0.8**14)
    assert lr["image_encoder.neck.0.weight"] == pytest.approx(0.8)
    assert lr["mask_decoder.iou_token.weight"] == 1.0


def test_norms_biases_and_tokens_are_not_decayed():
    sam = build_sam("vit_t", image_size=64)
    optimizer = build_optimizer(sam, OptimConfig(weight_decay=0.1))
    names = {id(p): n for n, p in sam.named_parameters()}
    decay = {names[id(p)]: g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
    assert decay["image_encoder.layers.1.blocks.0.mlp.fc1.weight"] == 0.1
    assert decay["image_encoder.patch_embed.seq.0.c.weight"] == 0.1
    for name in (
        "image_encoder.layers.1.blocks.0.mlp.fc1.bias",
        "image_encoder.layers.1.blocks.0.mlp.norm.weight",
        "mask_decoder.mask_tokens.weight",
        "prompt_encoder.no_mask_embed.weight",
        "prompt_encoder.point_embeddings.0.weight",
    ):
        assert decay[name] == 0.0, name


def test_the_paper_s_schedule():
    config = OptimConfig()
    lr = [config.lr_at(step, 90_000) for step in (0, 249, 250, 59_999, 60_000, 86_669, 86_670)]
    assert lr == pytest.approx([8e-4 / 250, 8e-4, 8e-4, 8e-4, 8e-5, 8e-5, 8e-6])


def test_cosine_ends_at_its_last_fraction():
    config = OptimConfig(lr=1.0, schedule=Schedule.COSINE, warmup_steps=10, final_lr_fraction=0.1)
    assert config.lr_at(10, 110) == 1.0
    assert config.lr_at(60, 110) == pytest.approx(0.55)
    assert config.lr_at(109, 110) == pytest.approx(0.1, abs=1e-3)


def test_moving_average_by_hand():
    layer = nn.Linear(1, 1, bias=False)
    nn.init.constant_(layer.weight, 0.0)
    average = MovingAverage(layer, 0.5)
    nn.init.constant_(layer.weight, 1.0)
    average.update(layer, 10**6)
    assert average.weights["weight"].item() == 0.5
    average.update(layer, 10**6)
    assert average.weights["weight"].item() == 0.75


def test_without_decay_the_average_is_the_last_step():
    layer = nn.Linear(2, 2)
    average = MovingAverage(layer, 0.0)
    nn.init.constant_(layer.weight, 3.0)
    average.update(layer, 5)
    assert torch.equal(average.weights["weight"], torch.full((2, 2), 3.0))


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"lr": 0}, "lr is 0"),
        ({"layer_decay": 2}, "layer_decay is 2"),
        ({"clip_norm": math.nan}, "nan"),
    ],
)
def test_bad_values_are_named(options: dict[str, Any], word: str):
    with pytest.raises(ValueError, match=word):
        OptimConfig(**options)


@pytest.mark.parametrize("shape", [(40, 40), (24, 80), (96, 32)])
def test_orthogonalised_matrices_keep_directions_alone(shape: tuple[int, int]):
    torch.manual_seed(1)
    matrix = torch.randn(shape) * 1e-3
    turned = orthogonalise(matrix)
    values = torch.linalg.svdvals(turned)
    assert values.min() > 0.5 and values.max() < 1.3
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    # The same singular vectors: only the values have changed.
    rest = left.T @ turned @ right.T
    assert (rest - rest.diag().diag()).abs().max() < 1e-3


def test_muon_orthogonalises_weights_of_layers_alone():
    sam = build_sam("vit_t", image_size=64)
    optimizer = build_optimizer(sam, OptimConfig(optimizer=Algorithm.MUON))
    names = {id(p): n for n, p in sam.named_parameters()}
    turned = {names[id(p)] for g in optimizer.param_groups if g[MATRIX] for p in g["params"]}
    assert "image_encoder.layers.1.blocks.0.mlp.fc1.weight" in turned
    assert "image_encoder.neck.2.weight" in turned
    assert "mask_decoder.output_upscaling.0.weight" in turned
    for name in (
        "image_encoder.layers.1.blocks.0.local_conv.c.weight",
        "image_encoder.layers.1.blocks.0.attn.attention_biases",
        "mask_decoder.mask_tokens.weight",
        "prompt_encoder.point_embeddings.0.weight",
        "mask_decoder.iou_prediction_head.layers.2.weight",
    ):
        assert name not in turned, name


def test_a_muon_step_is_as_long_as_adamw_s_and_goes_down():
    torch.manual_seed(0)
    layer = nn.Linear(64, 128)
    before = layer.weight.detach().clone()
    config = OptimConfig(optimizer=Algorithm.MUON, lr=0.01, weight_decay=0.0)
    optimizer = build_optimizer(layer, config)
    x, y = torch.randn(256, 64), torch.randn(256, 128)
    losses = []
    for _ in range(30):
        loss = (layer(x) - y).square().mean()
        losses.append(float(loss.detach()))
        loss.backward()
        optimizer.step()
        if len(losses) == 1:
            moved = (layer.weight.detach() - before).square().mean().sqrt()
            assert float(moved) == pytest.approx(0.2 * 0.01, rel=0.2)
            assert layer.weight.grad is not None
        optimizer.zero_grad()
    assert losses == sorted(losses, reverse=True)
    with pytest.raises(ValueError, match="closure"):
        optimizer.step(lambda: 0.0)
