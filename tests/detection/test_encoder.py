"""What the detector sees of the frozen encoder, and what identifies that encoder."""

import pytest
import torch

from sa_engine.detection.encoder import encode, encoder_digest, finer_channels
from sa_engine.model.card import ModelCard
from sa_engine.model.checkpoint import load_checkpoint, save_checkpoint
from sa_engine.model.encoders.tiny_vit import TinyVit, TinyVitBlock, TinyVitStage
from sa_engine.model.encoders.vit import Vit
from sa_engine.model.sam import Sam
from sa_engine.model.variants import build_sam
from tests.support.small_sam import small_sam


@pytest.fixture
def sam() -> Sam:
    torch.manual_seed(0)
    return small_sam(64).eval()


def small_vit(image_size: int) -> Sam:
    """A plain ViT of two blocks instead of TinyViT."""
    made = small_sam(image_size)
    made.image_encoder = Vit(
        image_size=image_size, width=32, depth=2, heads=2, global_blocks=(1,), out_channels=64
    )
    made.variant = "vit_b"
    return made.eval()


@torch.inference_mode()
def test_the_embedding_is_the_model_s_own(sam: Sam):
    images = torch.randn(2, 3, 64, 64)
    encoded = encode(sam, images)
    assert torch.equal(encoded.embedding.coarse_BCHW, sam.encode_image(images).coarse_BCHW)
    assert {s: tuple(x.shape) for s, x in encoded.finer.items()} == {
        4: (2, 32, 16, 16),
        8: (2, 48, 8, 8),
    }
    assert finer_channels(sam) == {4: 32, 8: 48}


@torch.inference_mode()
def test_a_lite_encoder_gives_what_its_skips_are_made_of():
    sam = build_sam("lite0", 64).eval()
    images = torch.randn(2, 3, 64, 64)
    encoded = encode(sam, images)
    expected = sam.encode_image(images)
    assert len(expected.maps) == 3
    for found, map_BCHW in zip(encoded.embedding.maps, expected.maps, strict=True):
        assert torch.equal(found, map_BCHW)
    assert {s: tuple(x.shape) for s, x in encoded.finer.items()} == {
        4: (2, 24, 16, 16),
        8: (2, 128, 8, 8),
    }
    assert finer_channels(sam) == {4: 24, 8: 128}


@torch.inference_mode()
def test_a_plain_vit_has_no_finer_maps():
    sam = small_vit(64)
    images = torch.randn(1, 3, 64, 64)
    encoded = encode(sam, images)
    assert torch.equal(encoded.embedding.coarse_BCHW, sam.encode_image(images).coarse_BCHW)
    assert encoded.finer == {} == finer_channels(sam)


def test_the_digest_is_the_encoder_s_and_survives_half_precision(tmp_path):
    torch.manual_seed(0)
    sam = build_sam("vit_t", image_size=32).eval()
    digest = encoder_digest(sam)
    file = tmp_path / "half.safetensors"
    save_checkpoint(sam, file, ModelCard(name="half", variant="vit_t", image_size=32))
    assert encoder_digest(load_checkpoint(file)) == digest
    with torch.no_grad():
        next(sam.mask_decoder.parameters()).add_(1)
    assert encoder_digest(sam) == digest
    with torch.no_grad():
        next(sam.image_encoder.parameters()).add_(0.01)
    assert encoder_digest(sam) != digest


def test_a_zero_has_one_sign_in_the_digest():
    """A moving average makes 0 of -0, which half precision makes of very small weights."""
    sam = build_sam("vit_t", image_size=32)
    assert isinstance(sam.image_encoder, TinyVit)
    stage = sam.image_encoder.layers[1]
    assert isinstance(stage, TinyVitStage)
    block = stage.blocks[0]
    assert isinstance(block, TinyVitBlock)
    bias = block.attn.qkv.bias
    torch.nn.init.constant_(bias, -0.0)
    digest = encoder_digest(sam)
    torch.nn.init.constant_(bias, 0.0)
    assert encoder_digest(sam) == digest


def test_the_digest_of_a_cast_model_is_refused(sam: Sam):
    sam.set_precision(torch.bfloat16)
    with pytest.raises(ValueError, match="before casts"):
        encoder_digest(sam)
