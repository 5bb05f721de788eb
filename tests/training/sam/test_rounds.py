"""Interactive rounds on a small model."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from sa_engine.model.layers import HeadMlp
from sa_engine.model.prompts import Prompts
from sa_engine.model.sam import Sam
from sa_engine.training.data.samples import PromptConfig
from sa_engine.training.data.scene_source import SceneSource
from sa_engine.training.sam.config import LossWeights, RoundsConfig
from sa_engine.training.sam.rounds import Batch, first_points, mask_only_schedule, run_rounds
from sa_engine.training.sam.similarity import ClickSimilarity
from tests.support.small_sam import small_sam

WEIGHTS = LossWeights()


@pytest.fixture(scope="module")
def sam() -> Sam:
    torch.manual_seed(0)
    return small_sam(32).eval()


@pytest.fixture(scope="module")
def batch() -> Batch:
    source = SceneSource(size=32, prompts=PromptConfig(masks_per_image=4))
    samples = [source.draw(np.random.default_rng(i), key=i) for i in range(2)]
    return Batch.of(samples).to(torch.device("cpu"))


def test_eleven_rounds_two_of_them_without_a_point():
    config = RoundsConfig()
    schedules = {mask_only_schedule(config, key) for key in range(60)}
    assert all(len(s) == 2 and 10 in s and 0 not in s for s in schedules)
    assert {min(s) for s in schedules} == set(range(1, 10))


def test_the_loss_is_the_mean_over_prompts(sam: Sam, batch: Batch):
    config = RoundsConfig(rounds=1, mask_only_rounds=0)
    with torch.no_grad():
        whole = run_rounds(sam, batch, config=config, weights=WEIGHTS, step=0)
        halves = [
            run_rounds(
                sam,
                Batch(*(getattr(batch, f)[i : i + 1] for f in Batch.__dataclass_fields__)),
                config=config,
                weights=WEIGHTS,
                step=0,
            )
            for i in range(2)
        ]
    mean = (halves[0].loss + halves[1].loss) / 2
    assert whole.loss.item() == pytest.approx(mean.item(), rel=1e-4)
    assert whole.prompts == 8


def test_rounds_do_not_depend_on_who_else_is_in_the_batch(sam: Sam, batch: Batch):
    config = RoundsConfig(rounds=4, mask_only_rounds=1)
    turned = Batch(*(getattr(batch, f).flip(0) for f in Batch.__dataclass_fields__))
    with torch.no_grad():
        first = run_rounds(sam, batch, config=config, weights=WEIGHTS, step=5)
        second = run_rounds(sam, turned, config=config, weights=WEIGHTS, step=5)
    assert first.loss.item() == pytest.approx(second.loss.item(), rel=1e-4)
    assert first.last_iou.item() == pytest.approx(second.last_iou.item(), rel=1e-4)


def test_everything_learns(sam: Sam, batch: Batch):
    half = batch.box_first_BP.clone()
    half[:, ::2], half[:, 1::2] = True, False
    helper = ClickSimilarity(sam)
    result = run_rounds(
        sam,
        replace(batch, box_first_BP=half),
        config=RoundsConfig(rounds=3, mask_only_rounds=0, single_mask_first=0.3),
        weights=replace(WEIGHTS, all_iou=True, similarity=1.0),
        step=0,
        similarity=helper,
    )
    result.loss.backward()
    silent = {n for n, p in sam.named_parameters() if p.grad is None or not p.grad.any()}
    sam.zero_grad()
    # Branches whose last normalisation starts at zero pass no gradient in the first step; a mask
    # that is never best learns nothing; background points come up only where too much was taken;
    # key biases vanish in a softmax.
    excused = ("blocks", "point_embeddings.0", "output_hypernetworks_mlps", "k_proj.bias")
    assert not {n for n in silent if not any(word in n for word in excused)}
    assert all(p.grad is not None for p in helper.parameters())


def test_only_the_best_of_three_masks_learns(sam: Sam, batch: Batch):
    points_only = replace(batch, box_first_BP=torch.zeros_like(batch.box_first_BP))
    config = RoundsConfig(rounds=1, mask_only_rounds=0)
    result = run_rounds(sam, points_only, config=config, weights=WEIGHTS, step=0)
    result.loss.backward()
    # Mask 0 answers several prompts only: its network is silent in round 1.
    mlps = sam.mask_decoder.output_hypernetworks_mlps

    def gradient(index: int) -> Tensor | None:
        mlp = mlps[index]
        assert isinstance(mlp, HeadMlp)
        last = mlp.layers[2]
        assert isinstance(last, nn.Linear)
        return last.weight.grad

    def is_heard(index: int) -> bool:
        found = gradient(index)
        assert found is not None
        return bool(found.any())

    assert gradient(0) is None or not is_heard(0)
    assert any(is_heard(i) for i in (1, 2, 3))
    sam.zero_grad()


def test_the_helper_sees_the_picture_alone(sam: Sam, batch: Batch):
    """A click on one of two colours marks that colour, with weights as they come."""
    image = torch.zeros(1, 3, 32, 32)
    image[..., 16:] = 255
    with torch.no_grad():
        embedding = sam.encode_image(sam.preprocess(image)).coarse_BCHW
        helper = ClickSimilarity(sam)
        points = torch.tensor([[4.0, 16.0], [27.0, 16.0]])
        logits = helper(sam, embedding, points, torch.zeros(2, dtype=torch.long))
    assert logits[0, :, :3].mean() > logits[0, :, 5:].mean()
    assert logits[1, :, 5:].mean() > logits[1, :, :3].mean()


class _NothingIsRead(TorchDispatchMode):
    """Fails where a value of a tensor decides about what comes next: a GPU would be waited for."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        assert name not in {"_local_scalar_dense", "nonzero", "masked_select", "_unique2"}, name
        return func(*args, **(kwargs or {}))


def test_nothing_waits_for_the_device(sam: Sam, batch: Batch):
    config = RoundsConfig(rounds=3, mask_only_rounds=0, inner_probability=0.5)
    weights = LossWeights(focal=1, bce=1, balance=0.5, all_iou=True)
    with _NothingIsRead():
        result = run_rounds(sam, batch, config=config, weights=weights, step=0)
        result.loss.backward()
    sam.zero_grad()


def test_bfloat16_computes_nearly_the_same_and_trains_the_same_weights(sam: Sam, batch: Batch):
    config = RoundsConfig(rounds=2, mask_only_rounds=0, single_mask_first=0.3)
    losses, gradients = [], []
    for precision in (torch.float32, torch.bfloat16):
        result = run_rounds(sam, batch, config=config, weights=WEIGHTS, step=0, precision=precision)
        result.loss.backward()
        losses.append(result.loss.item())
        gradients.append({n: p.grad for n, p in sam.named_parameters() if p.grad is not None})
        sam.zero_grad()
    exact, rough = gradients
    assert losses[1] == pytest.approx(losses[0], rel=0.02)
    assert exact.keys() == rough.keys()
    assert all(g.dtype == torch.float32 for g in rough.values())
    for name in (
        "image_encoder.neck.2.weight",
        "mask_decoder.transformer.layers.1.mlp.lin2.weight",
        "mask_decoder.output_upscaling.3.weight",
        "mask_decoder.iou_prediction_head.layers.2.weight",
    ):
        alike = torch.cosine_similarity(exact[name].flatten(), rough[name].flatten(), dim=0)
        assert alike > 0.97, name


def test_boxes_and_points_begin_with_equally_many_tokens(sam: Sam, batch: Batch):
    """As the published prompt encoder has them: corners, or a point and its padding."""
    mixed = replace(batch, box_first_BP=torch.tensor([[True, False] * 2] * 2))
    points, labels = first_points(mixed)
    together, _ = sam.prompt_encoder(Prompts(points_PN2=points, labels_PN=labels, padded=True))
    by_box, _ = sam.prompt_encoder(Prompts(boxes_P4=mixed.boxes_BP4.flatten(0, 1)))
    by_point, _ = sam.prompt_encoder(
        Prompts(
            points_PN2=mixed.points_BP2.flatten(0, 1)[:, None],
            labels_PN=torch.ones(8, 1, dtype=torch.long),
        )
    )
    assert torch.allclose(together[::2], by_box[::2])
    assert torch.allclose(together[1::2], by_point[1::2])


def test_bad_values_are_named():
    with pytest.raises(ValueError, match="rounds is 0"):
        RoundsConfig(rounds=0)
    with pytest.raises(ValueError, match="mask_only_rounds is 2"):
        RoundsConfig(rounds=2)
    with pytest.raises(ValueError, match="inner_probability is 2"):
        RoundsConfig(inner_probability=2)
