import pytest
import torch

from sa_engine.errors import UsageError
from sa_engine.model.encoders.tiny_vit import ConvNorm, TinyVit
from sa_engine.model.prompts import Prompts
from sa_engine.model.sam import Sam
from sa_engine.model.variants import build_sam
from tests.support.weights import randomise


@pytest.fixture(scope="module")
def sam() -> Sam:
    sam = build_sam("vit_t", 64)
    randomise(sam, seed=0)
    return sam.eval()


def test_preprocess_normalises_and_pads(sam: Sam) -> None:
    white = torch.full((1, 3, 2, 64), 255.0)
    out = sam.preprocess(white)
    assert out.shape == (1, 3, 64, 64)
    expected = torch.tensor(
        [(255 - 123.675) / 58.395, (255 - 116.28) / 57.12, (255 - 103.53) / 57.375]
    )
    torch.testing.assert_close(out[0, :, 1, 63], expected)
    assert out[:, :, 2:].abs().max() == 0


def test_preprocess_refuses_a_larger_image(sam: Sam) -> None:
    with pytest.raises(ValueError, match="image of 65x3 is larger"):
        sam.preprocess(torch.zeros(1, 3, 3, 65))


def test_pixel_statistics_are_not_weights(sam: Sam) -> None:
    assert [name for name in sam.state_dict() if "pixel" in name] == []


@torch.no_grad()
def test_half_precision_keeps_positions_and_statistics() -> None:
    sam = build_sam("vit_t", 64)
    randomise(sam, seed=1)
    sam.eval()
    image = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    prompts = Prompts(points_PN2=torch.tensor([[[9.0, 50.0]]]), labels_PN=torch.tensor([[1]]))
    embedding = sam.encode_image(image)
    exact, _ = sam.decode(embedding, prompts, multimask=True)
    sam.set_precision(torch.bfloat16)
    assert sam.prompt_encoder.pe_layer.positional_encoding_gaussian_matrix.dtype == torch.float32
    assert isinstance(sam.image_encoder, TinyVit)
    first = sam.image_encoder.patch_embed.seq[0]
    assert isinstance(first, ConvNorm) and first.bn.running_var is not None
    assert first.bn.running_var.dtype == torch.float32
    assert first.c.weight.dtype == torch.bfloat16
    rounded_embedding = sam.encode_image(image)
    rounded_map, exact_map = rounded_embedding.coarse_BCHW, embedding.coarse_BCHW
    assert rounded_map.dtype == torch.bfloat16
    error = (rounded_map.float() - exact_map).abs().mean() / exact_map.std()
    assert float(error) < 0.05
    rounded, _ = sam.decode(embedding, prompts, multimask=True)
    assert rounded.dtype == torch.float32
    assert float((rounded - exact).abs().mean() / exact.std()) < 0.05


def test_early_stages_freeze() -> None:
    sam = build_sam("lite0", 64)
    sam.freeze_stages(2)
    still = {n for n, p in sam.image_encoder.named_parameters() if not p.requires_grad}
    assert {".".join(name.split(".")[:3]) for name in still} == {
        "backbone.stem.conv",
        "backbone.stem.norm",
        "backbone.stages.0",
        "backbone.stages.1",
    }
    with pytest.raises(UsageError, match="vit_t has no stages to freeze"):
        build_sam("vit_t", 64).freeze_stages(2)
