"""Interactive rounds on a small model."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from sa_engine.model.sam import Sam
from sa_engine.training.data.samples import PromptConfig
from sa_engine.training.data.scene_source import SceneSource
from sa_engine.training.sam.losses import LossWeights
from sa_engine.training.sam.rounds import Batch, RoundsConfig, mask_only_schedule, run_rounds
from sa_engine.training.sam.similarity import ClickSimilarity
from sa_engine.training.sam.trainer import stack, to_device
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
    return to_device(stack(samples), torch.device("cpu"))


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
    assert mlps[0].layers[2].weight.grad is None or not mlps[0].layers[2].weight.grad.any()
    assert any(mlps[i].layers[2].weight.grad.any() for i in (1, 2, 3))
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


def test_bad_values_are_named():
    with pytest.raises(ValueError, match="rounds is 0"):
        RoundsConfig(rounds=0)
    with pytest.raises(ValueError, match="mask_only_rounds is 2"):
        RoundsConfig(rounds=2)
