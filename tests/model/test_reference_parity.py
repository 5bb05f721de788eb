"""The published package as a witness: the same random weights, the same outputs within 1e-4."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from sa_engine.model.embedding import ImageEmbedding
from sa_engine.model.encoders import relative_attention
from sa_engine.model.encoders.vit import Vit
from sa_engine.model.mask_decoder import MaskDecoder
from sa_engine.model.predictor import Predictor
from sa_engine.model.prompt_encoder import PromptEncoder
from sa_engine.model.prompts import Prompts
from sa_engine.model.sam import Sam
from sa_engine.model.sizes import VIT_SIZES
from sa_engine.model.variants import build_sam
from tests.support.torchvision_stand_in import import_segment_anything
from tests.support.weights import randomise

TOLERANCE = 1e-4
SIZE = 256
PHOTOGRAPH = Path(__file__).parents[2] / "examples" / "images" / "astronaut.jpg"


def published_vit(**size: Any) -> nn.Module:
    encoder: nn.Module = import_segment_anything().modeling.ImageEncoderViT(
        mlp_ratio=4,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        patch_size=16,
        qkv_bias=True,
        use_rel_pos=True,
        out_chans=256,
        **size,
    )
    return encoder.eval()


def published_sam(encoder: nn.Module, size: int) -> Any:
    modeling = import_segment_anything().modeling
    prompt_encoder = modeling.PromptEncoder(
        embed_dim=256,
        image_embedding_size=(size // 16, size // 16),
        input_image_size=(size, size),
        mask_in_chans=16,
    )
    decoder = modeling.MaskDecoder(
        transformer_dim=256,
        transformer=modeling.TwoWayTransformer(
            depth=2, embedding_dim=256, mlp_dim=2048, num_heads=8
        ),
    )
    return modeling.Sam(encoder, prompt_encoder, decoder).eval()


@pytest.fixture(scope="module")
def ours() -> Sam:
    encoder = Vit(image_size=SIZE, width=64, depth=3, heads=4, global_blocks=(1,))
    sam = Sam(
        encoder,
        PromptEncoder(image_size=SIZE),
        MaskDecoder(),
        image_size=SIZE,
        variant="vit_b",
    )
    randomise(sam, seed=0)
    return sam.eval()


@pytest.fixture(scope="module")
def reference(ours: Sam) -> Any:
    encoder = published_vit(
        img_size=SIZE,
        embed_dim=64,
        depth=3,
        num_heads=4,
        global_attn_indexes=(1,),
        window_size=14,
    )
    model = published_sam(encoder, SIZE)
    model.load_state_dict(ours.state_dict(), strict=True)
    return model


def assert_near(found: Any, expected: Any) -> None:
    torch.testing.assert_close(
        torch.as_tensor(found), torch.as_tensor(expected), atol=TOLERANCE, rtol=0
    )


@torch.no_grad()
def test_image_embedding(ours: Sam, reference: Any) -> None:
    images = torch.rand(2, 3, 200, SIZE, generator=torch.Generator().manual_seed(1)) * 255
    inputs = ours.preprocess(images)
    assert_near(inputs, reference.preprocess(images))
    assert_near(ours.encode_image(inputs).coarse_BCHW, reference.image_encoder(inputs))


@pytest.fixture(scope="module")
def full_size() -> tuple[Vit, Tensor, Tensor]:
    """A narrow ViT at 1024 pixels, one block windowed and one global; an image; its embedding."""
    ours = Vit(image_size=1024, width=128, depth=2, heads=2, global_blocks=(1,))
    randomise(ours, seed=2)
    reference = published_vit(
        img_size=1024,
        embed_dim=128,
        depth=2,
        num_heads=2,
        global_attn_indexes=(1,),
        window_size=14,
    )
    reference.load_state_dict(ours.state_dict(), strict=True)
    image = torch.randn(1, 3, 1024, 1024, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        return ours.eval(), image, reference(image)


@torch.no_grad()
@pytest.mark.parametrize("way", ["attend_by_tiles", "attend_by_channels"])
def test_image_embedding_at_full_size(
    monkeypatch: pytest.MonkeyPatch, full_size: tuple[Vit, Tensor, Tensor], way: str
) -> None:
    monkeypatch.setattr("sa_engine.model.encoders.vit.attend", getattr(relative_attention, way))
    ours, image, expected = full_size
    assert_near(ours(image), expected)


@torch.no_grad()
def test_image_embedding_of_vit_b() -> None:
    """All twelve blocks, at a small size."""
    ours = build_sam("vit_b", 128).image_encoder
    randomise(ours, seed=6)
    reference = published_vit(
        img_size=128,
        embed_dim=768,
        depth=12,
        num_heads=12,
        global_attn_indexes=(2, 5, 8, 11),
        window_size=14,
    )
    reference.load_state_dict(ours.state_dict(), strict=True)
    image = torch.randn(1, 3, 128, 128, generator=torch.Generator().manual_seed(7))
    assert_near(ours.eval()(image), reference(image))


PROMPTS = {
    "one point": Prompts(
        points_PN2=torch.tensor([[[40.0, 60.5]]]),
        labels_PN=torch.tensor([[1]]),
    ),
    "points with padding": Prompts(
        points_PN2=torch.tensor([[[40.0, 60.5], [0.0, 255.0]], [[8.0, 1.0], [0.0, 0.0]]]),
        labels_PN=torch.tensor([[1, 0], [0, -1]]),
    ),
    "boxes": Prompts(boxes_P4=torch.tensor([[3.0, 4.0, 100.0, 250.0], [0.0, 0.0, 10.0, 9.0]])),
    "box and points": Prompts(
        points_PN2=torch.tensor([[[40.0, 60.5], [1.0, 2.0]]]),
        labels_PN=torch.tensor([[1, 0]]),
        boxes_P4=torch.tensor([[3.0, 4.0, 100.0, 250.0]]),
    ),
}


@torch.no_grad()
@pytest.mark.parametrize("kind", PROMPTS)
@pytest.mark.parametrize("with_mask", [False, True], ids=["no mask", "mask"])
@pytest.mark.parametrize("multimask", [False, True], ids=["1 output", "3 outputs"])
def test_prompts(ours: Sam, reference: Any, kind: str, with_mask: bool, multimask: bool) -> None:
    generator = torch.Generator().manual_seed(4)
    prompts = PROMPTS[kind]
    p = len(prompts)
    masks = 5 * torch.randn(p, 1, 64, 64, generator=generator) if with_mask else None
    prompts = Prompts(
        points_PN2=prompts.points_PN2,
        labels_PN=prompts.labels_PN,
        boxes_P4=prompts.boxes_P4,
        masks_P1HW=masks,
    )
    embedding = torch.randn(1, 256, 16, 16, generator=generator)
    points = None if prompts.points_PN2 is None else (prompts.points_PN2, prompts.labels_PN)
    sparse, dense = reference.prompt_encoder(points=points, boxes=prompts.boxes_P4, masks=masks)
    image_pe = reference.prompt_encoder.get_dense_pe()
    logits, iou = reference.mask_decoder(
        image_embeddings=embedding,
        image_pe=image_pe,
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        multimask_output=multimask,
    )
    our_sparse, our_dense = ours.prompt_encoder(prompts)
    assert_near(our_sparse, sparse)
    assert_near(our_dense.expand_as(dense), dense)
    assert_near(ours.prompt_encoder.image_pe(), image_pe)
    our_logits, our_iou = ours.decode(ImageEmbedding(embedding), prompts, multimask=multimask)
    assert logits.std() > 0.1
    assert_near(our_logits, logits)
    assert_near(our_iou, iou)


@pytest.mark.parametrize("multimask", [False, True], ids=["1 output", "3 outputs"])
def test_predictor_on_a_photograph(ours: Sam, reference: Any, multimask: bool) -> None:
    rgb = np.asarray(Image.open(PHOTOGRAPH).convert("RGB"))[:300]
    witness = import_segment_anything().SamPredictor(reference)
    witness.set_image(rgb)
    predictor = Predictor(ours)
    predictor.set_image(rgb)
    assert_near(predictor.embedding.coarse_BCHW, witness.get_image_embedding())
    previous = None
    for points, labels, box in (
        ([[70.5, 200.0]], [1], None),
        ([[70.5, 200.0], [400.0, 20.0]], [1, 0], None),
        (None, None, [30.0, 40.0, 301.0, 299.0]),
        ([[70.5, 200.0]], [0], [30.0, 40.0, 301.0, 299.0]),
    ):
        expected = witness.predict(
            point_coords=None if points is None else np.array(points),
            point_labels=None if labels is None else np.array(labels),
            box=None if box is None else np.array(box),
            mask_input=previous,
            multimask_output=multimask,
        )
        found = predictor.predict(
            points_xy=points,
            labels=labels,
            box_xyxy=box,
            mask_logits=previous,
            multimask=multimask,
        )
        assert_near(found.low_res_logits, expected[2])
        assert_near(found.iou, expected[1])
        assert found.masks.shape == expected[0].shape == (3 if multimask else 1, *rgb.shape[:2])
        assert np.mean(found.masks != expected[0]) < 1e-4
        previous = expected[2][:1]


@pytest.mark.parametrize(("variant", "tensors"), [("vit_b", 314), ("vit_l", 482), ("vit_h", 594)])
def test_names_and_shapes_of_weights(variant: str, tensors: int) -> None:
    """The published models' state dicts, made without data."""
    size = VIT_SIZES[variant]
    with torch.device("meta"):
        encoder = published_vit(
            img_size=1024,
            embed_dim=size.width,
            depth=size.depth,
            num_heads=size.heads,
            global_attn_indexes=size.global_blocks,
            window_size=14,
        )
        reference = published_sam(encoder, 1024)
        ours = build_sam(variant)
    expected = {name: t.shape for name, t in reference.state_dict().items()}
    assert {name: t.shape for name, t in ours.state_dict().items()} == expected
    assert len(expected) == tensors


def named(sam: Sam, start: str) -> dict[str, Tensor]:
    return {k.removeprefix(start): v for k, v in sam.state_dict().items() if k.startswith(start)}


@torch.no_grad()
def test_a_second_witness(ours: Sam) -> None:
    """The decoder of another implementation, transformers' SamModel; its weights' names differ."""
    from transformers import SamMaskDecoderConfig
    from transformers.models.sam.modeling_sam import SamMaskDecoder

    config: Any = SamMaskDecoderConfig
    theirs = SamMaskDecoder(config(attn_implementation="eager")).eval()
    upscaling = {"0": "upscale_conv1", "1": "upscale_layer_norm", "3": "upscale_conv2"}
    state = {}
    for name, tensor in named(ours, "mask_decoder.").items():
        for step, new in upscaling.items():
            name = name.replace(f"output_upscaling.{step}", new)
        if "hypernetworks" in name or "iou_prediction" in name:
            for old, new in (("layers.0", "proj_in"), ("layers.1", "layers.0")):
                name = name.replace(old, new)
            name = name.replace("layers.2", "proj_out")
        else:
            for i in range(1, 5):
                name = name.replace(f".norm{i}.", f".layer_norm{i}.")
            name = name.replace("norm_final_attn", "layer_norm_final_attn")
        state[name] = tensor
    theirs.load_state_dict(state, strict=True)
    generator = torch.Generator().manual_seed(5)
    embedding = torch.randn(1, 256, 16, 16, generator=generator)
    sparse, dense = ours.prompt_encoder(PROMPTS["points with padding"])
    image_pe = ours.prompt_encoder.image_pe()
    for multimask in (False, True):
        logits, iou = theirs(
            image_embeddings=embedding,
            image_positional_embeddings=image_pe,
            sparse_prompt_embeddings=sparse[None],
            dense_prompt_embeddings=dense.expand(1, -1, 16, 16),
            multimask_output=multimask,
        )[:2]
        ours_logits, ours_iou = ours.mask_decoder(
            ImageEmbedding(embedding), image_pe, sparse, dense, multimask=multimask
        )
        assert_near(ours_logits, logits[0])
        assert_near(ours_iou, iou[0])
