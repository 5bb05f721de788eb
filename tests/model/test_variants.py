import pytest
import torch

from sa_engine.errors import UsageError
from sa_engine.model.embedding import ImageEmbedding
from sa_engine.model.prompts import Prompts
from sa_engine.model.sizes import VIT_SIZES, VitSize
from sa_engine.model.variants import build_sam


def test_unknown_variant() -> None:
    with pytest.raises(UsageError, match="unknown model variant 'vit_x'; choose one of vit_t"):
        build_sam("vit_x")


@pytest.mark.parametrize("size", [0, -64, 100])
def test_impossible_size(size: int) -> None:
    with pytest.raises(UsageError, match=f"image size {size} is not a positive multiple of 16"):
        build_sam("vit_t", size)


@pytest.mark.parametrize("variant", ["vit_t", "vit_b", "lite0"])
def test_trains_end_to_end(variant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(VIT_SIZES, "vit_b", VitSize(32, 3, 2, (1,)))
    torch.manual_seed(0)
    sam = build_sam(variant, 128, drop_path=0.1)
    prompts = Prompts(
        boxes_P4=torch.tensor([[10.0, 10, 60, 60]]), masks_P1HW=torch.zeros(1, 1, 32, 32)
    )
    embedding = sam.encode_image(sam.preprocess(torch.rand(1, 3, 100, 128) * 255))
    logits, iou = sam.decode(embedding, prompts, multimask=True)
    assert logits.shape == (1, 3, 32, 32)
    (logits.square().mean() + iou.square().mean()).backward()
    single_mask = "mask_decoder.output_hypernetworks_mlps.0."
    unused = {
        name
        for name, p in sam.named_parameters()
        if p.grad is None and not name.startswith(single_mask)
    }
    attention = "mask_decoder.transformer.{}.k_proj.bias"
    assert unused == {
        # All prompts had masks.
        "prompt_encoder.no_mask_embed.weight",
        # A softmax does not see a key's bias.
        attention.format("layers.0.cross_attn_token_to_image"),
        attention.format("layers.1.cross_attn_token_to_image"),
        attention.format("final_attn_token_to_image"),
    }


def test_a_deeper_decoder() -> None:
    sam = build_sam("vit_t", 64, decoder_depth=3)
    prompts = Prompts(boxes_P4=torch.tensor([[10.0, 10, 60, 60]]))
    logits, _ = sam.decode(ImageEmbedding(torch.zeros(1, 256, 4, 4)), prompts, multimask=False)
    assert logits.shape == (1, 1, 16, 16)
    assert "mask_decoder.transformer.layers.2.norm4.weight" in sam.state_dict()
