import pytest
import torch
from torch import Tensor

from sa_engine.model import mask_decoder
from sa_engine.model.embedding import ImageEmbedding
from sa_engine.model.mask_decoder import MaskDecoder, prompts_per_chunk
from tests.support.plain_decoder import PlainDecoder
from tests.support.weights import randomise

GRID_HW = (8, 6)
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def decoder() -> MaskDecoder:
    decoder = MaskDecoder()
    randomise(decoder, seed=1)
    return decoder.eval()


@pytest.fixture(scope="module")
def plain(decoder: MaskDecoder) -> PlainDecoder:
    return PlainDecoder(decoder.state_dict())


def noise(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def relative_error(found: Tensor, expected: Tensor) -> float:
    """The largest error in units of the values' spread: the scale of weights cannot hide it."""
    assert found.shape == expected.shape
    return float(((found - expected).abs().max() / expected.std()).detach())


EMBEDDING = ImageEmbedding(noise(1, 256, *GRID_HW, seed=2))
IMAGE_PE = noise(1, 256, *GRID_HW, seed=3)


@pytest.mark.parametrize("num_tokens", [0, 2, 9], ids=["mask only", "one point", "nine points"])
@pytest.mark.parametrize("with_masks", [False, True], ids=["no masks", "masks"])
@pytest.mark.parametrize("grad", [False, True], ids=["tiles", "whole"])
def test_equals_the_published_order(
    decoder: MaskDecoder,
    plain: PlainDecoder,
    monkeypatch: pytest.MonkeyPatch,
    num_tokens: int,
    with_masks: bool,
    grad: bool,
) -> None:
    # Two rows a tile; prompts_per_chunk is 4 on a CPU, so 5 prompts make two chunks.
    monkeypatch.setattr(mask_decoder, "CPU_TILE_TOKENS", 2 * GRID_HW[1])
    p = 5
    sparse = noise(p, num_tokens, 256, seed=4)
    dense = noise(p, 256, *GRID_HW, seed=5) if with_masks else noise(1, 256, 1, 1, seed=5)
    with torch.set_grad_enabled(grad):
        three, three_iou = decoder(EMBEDDING, IMAGE_PE, sparse, dense, multimask=True)
        one, one_iou = decoder(EMBEDDING, IMAGE_PE, sparse, dense, multimask=False)
    assert three.shape == (p, 3, 32, 24)
    assert one_iou.shape == (p, 1)
    for i in range(p):
        dense_CHW = dense[i] if with_masks else dense[0].expand(-1, *GRID_HW)
        logits, iou = plain.decode(EMBEDDING.coarse_BCHW[0], IMAGE_PE[0], sparse[i], dense_CHW)
        assert relative_error(torch.cat([one[i], three[i]]), logits) < TOLERANCE
        assert relative_error(torch.cat([one_iou[i], three_iou[i]]), iou) < TOLERANCE


@pytest.mark.parametrize("with_masks", [False, True], ids=["no masks", "masks"])
def test_prompts_of_several_images_at_once(decoder: MaskDecoder, with_masks: bool) -> None:
    embeddings = ImageEmbedding(noise(3, 256, *GRID_HW, seed=6))
    sparse = noise(4, 2, 256, seed=7)
    dense = noise(4, 256, *GRID_HW, seed=8) if with_masks else noise(1, 256, 1, 1, seed=8)
    image_index = torch.tensor([2, 0, 2, 1])
    logits, iou = decoder(
        embeddings, IMAGE_PE, sparse, dense, multimask=True, image_index_P=image_index
    )
    for i, image in enumerate(image_index.tolist()):
        own_dense = dense[i : i + 1] if with_masks else dense
        alone, alone_iou = decoder(
            embeddings.image(image), IMAGE_PE, sparse[i : i + 1], own_dense, multimask=True
        )
        assert relative_error(logits[i : i + 1], alone) < TOLERANCE
        assert relative_error(iou[i : i + 1], alone_iou) < TOLERANCE


def test_several_images_need_an_index(decoder: MaskDecoder) -> None:
    with pytest.raises(ValueError, match="image_index_P"):
        decoder(
            ImageEmbedding(noise(2, 256, *GRID_HW, seed=6)),
            IMAGE_PE,
            noise(2, 2, 256, seed=7),
            noise(1, 256, 1, 1, seed=8),
            multimask=True,
        )


@torch.no_grad()
def test_draws_the_chosen_masks_only(decoder: MaskDecoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mask_decoder, "CPU_TILE_TOKENS", 3 * GRID_HW[1])
    sparse, dense = noise(4, 2, 256, seed=9), noise(1, 256, 1, 1, seed=10)
    context = decoder.prepare(EMBEDDING, IMAGE_PE, shared_dense_1C11=dense)
    assert [tile.shape[1] for tile in context.tiles_BnC] == [18, 18, 12]
    tokens = decoder.attend(context, sparse, dense)
    everything = [
        decoder.masks(tokens, torch.arange(4), torch.full((4,), mask)) for mask in range(4)
    ]
    prompts, masks = torch.tensor([3, 1, 3]), torch.tensor([0, 2, 3])
    chosen = decoder.masks(tokens, prompts, masks)
    expected = torch.stack([everything[0][3], everything[2][1], everything[3][3]])
    assert relative_error(chosen, expected) < TOLERANCE
    three, iou = decoder(EMBEDDING, IMAGE_PE, sparse, dense, multimask=True)
    assert relative_error(torch.stack(everything[1:], dim=1), three) < TOLERANCE
    assert relative_error(tokens.iou_P4[:, 1:], iou) < TOLERANCE


SKIPPED = ImageEmbedding(
    noise(2, 256, *GRID_HW, seed=20), noise(2, 64, 16, 12, seed=21), noise(2, 32, 32, 24, seed=22)
)


@pytest.mark.parametrize("with_masks", [False, True], ids=["no masks", "masks"])
@pytest.mark.parametrize("grad", [False, True], ids=["tiles", "whole"])
def test_skips_are_added_on_the_way_up(
    decoder: MaskDecoder,
    plain: PlainDecoder,
    monkeypatch: pytest.MonkeyPatch,
    with_masks: bool,
    grad: bool,
) -> None:
    monkeypatch.setattr(mask_decoder, "CPU_TILE_TOKENS", 3 * GRID_HW[1])
    p, image_index = 5, torch.tensor([1, 0, 0, 1, 1])
    sparse = noise(p, 2, 256, seed=23)
    dense = noise(p, 256, *GRID_HW, seed=24) if with_masks else noise(1, 256, 1, 1, seed=24)
    with torch.set_grad_enabled(grad):
        both, _ = decoder(
            SKIPPED, IMAGE_PE, sparse, dense, multimask=True, image_index_P=image_index
        )
        alone, _ = decoder(SKIPPED.image(1), IMAGE_PE, sparse, dense, multimask=True)
        context = decoder.prepare(SKIPPED, IMAGE_PE)
        tokens = decoder.attend(context, sparse, dense, image_index_P=image_index)
        chosen = decoder.masks(tokens, torch.tensor([4, 1]), torch.tensor([3, 1]))
    assert SKIPPED.eighth_BCHW is not None and SKIPPED.quarter_BCHW is not None
    for i, image in enumerate(image_index.tolist()):
        dense_CHW = dense[i] if with_masks else dense[0].expand(-1, *GRID_HW)
        skips = SKIPPED.eighth_BCHW[image], SKIPPED.quarter_BCHW[image]
        logits, _ = plain.decode(
            SKIPPED.coarse_BCHW[image], IMAGE_PE[0], sparse[i], dense_CHW, skips
        )
        assert relative_error(both[i], logits[1:]) < TOLERANCE
        if image == 1:
            assert relative_error(alone[i], logits[1:]) < TOLERANCE
    assert relative_error(chosen, torch.stack([both[4, 2], both[1, 0]])) < TOLERANCE
    assert relative_error(decoder.draw(tokens, slice(2, 4)), both[:, 1:]) < TOLERANCE


@pytest.mark.parametrize("with_masks", [False, True], ids=["no masks", "masks"])
def test_prompts_in_the_order_of_their_images_need_no_index(
    decoder: MaskDecoder, with_masks: bool
) -> None:
    sparse = noise(6, 2, 256, seed=7)
    dense = noise(6, 256, *GRID_HW, seed=8) if with_masks else noise(1, 256, 1, 1, seed=8)
    context = decoder.prepare(SKIPPED, IMAGE_PE)
    tokens = decoder.attend(context, sparse, dense)
    by_index = decoder.attend(
        context, sparse, dense, image_index_P=torch.tensor([0, 0, 0, 1, 1, 1])
    )
    drawn, expected = (decoder.draw(each, slice(1, 4)) for each in (tokens, by_index))
    assert drawn.shape == (6, 3, 32, 24)
    assert relative_error(drawn, expected) < TOLERANCE
    some = (torch.tensor([4, 1]), torch.tensor([3, 1]))
    assert relative_error(decoder.masks(tokens, *some), decoder.masks(by_index, *some)) < TOLERANCE
    with pytest.raises(ValueError, match="3 prompts do not divide over 2 images"):
        decoder.attend(context, sparse[:3], dense[:3])


@torch.no_grad()
def test_draws_nothing_when_nothing_is_chosen(decoder: MaskDecoder) -> None:
    dense = noise(1, 256, 1, 1, seed=10)
    context = decoder.prepare(EMBEDDING, IMAGE_PE, shared_dense_1C11=dense)
    tokens = decoder.attend(context, noise(2, 2, 256, seed=9), dense)
    none = torch.zeros(0, dtype=torch.int64)
    assert decoder.masks(tokens, none, none).shape == (0, 32, 24)


@torch.no_grad()
def test_no_prompts(decoder: MaskDecoder) -> None:
    dense = noise(1, 256, 1, 1, seed=10)
    logits, iou = decoder(EMBEDDING, IMAGE_PE, noise(0, 2, 256, seed=9), dense, multimask=True)
    assert logits.shape == (0, 3, 32, 24)
    assert iou.shape == (0, 3)


def test_gradients_equal_the_published_order() -> None:
    decoder = MaskDecoder()
    randomise(decoder, seed=11)
    plain = PlainDecoder(dict(decoder.named_parameters()))
    sparse, dense = noise(3, 2, 256, seed=12), noise(1, 256, 1, 1, seed=13)
    target, iou_target = noise(3, 4, 32, 24, seed=14), noise(3, 4, seed=15)

    def gradients(logits: Tensor, iou: Tensor, embedding: Tensor) -> dict[str, Tensor | None]:
        decoder.zero_grad()
        embedding.grad = None
        ((logits - target) ** 2).mean().add(((iou - iou_target) ** 2).mean()).backward()
        found = {name: p.grad for name, p in decoder.named_parameters()}
        return {**found, "embedding": embedding.grad}

    embedding = EMBEDDING.coarse_BCHW.clone().requires_grad_()
    encoded = ImageEmbedding(embedding)
    one, one_iou = decoder(encoded, IMAGE_PE, sparse, dense, multimask=False)
    three, three_iou = decoder(encoded, IMAGE_PE, sparse, dense, multimask=True)
    found = gradients(torch.cat([one, three], 1), torch.cat([one_iou, three_iou], 1), embedding)
    answers = [
        plain.decode(embedding[0], IMAGE_PE[0], tokens, dense[0].expand(-1, *GRID_HW))
        for tokens in sparse
    ]
    logits, iou = (torch.stack(parts) for parts in zip(*answers, strict=True))
    expected = gradients(logits, iou, embedding)
    assert found.keys() == expected.keys()
    of_tokens = expected["mask_tokens.weight"]
    assert of_tokens is not None
    for name, gradient in expected.items():
        assert gradient is not None
        if ".cross_attn_token_to_image.k_proj.bias" in name or name.endswith(
            "final_attn_token_to_image.k_proj.bias"
        ):
            # A softmax does not see a key's bias.
            assert gradient.abs().max() < 1e-5
            continue
        ours = found[name]
        assert ours is not None, name
        scale = max(float(of_tokens.abs().max()), float(gradient.abs().max()))
        assert float((ours - gradient).abs().max()) / scale < 1e-4, name


@torch.no_grad()
def test_half_precision_stays_near() -> None:
    decoder = MaskDecoder().eval()
    randomise(decoder, seed=16)
    sparse, dense = noise(4, 2, 256, seed=17), noise(1, 256, 1, 1, seed=18)
    exact, _ = decoder(EMBEDDING, IMAGE_PE, sparse, dense, multimask=True)
    rounded, rounded_iou = decoder.bfloat16()(EMBEDDING, IMAGE_PE, sparse, dense, multimask=True)
    assert rounded.dtype == rounded_iou.dtype == torch.float32
    assert float((rounded - exact).abs().mean() / exact.std()) < 0.03


def test_chunks_are_small_on_a_cpu() -> None:
    assert prompts_per_chunk(torch.device("cpu")) == 4
    assert prompts_per_chunk(torch.device("cuda")) == 64
