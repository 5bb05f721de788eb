"""From options to a recipe."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sa_engine.errors import UsageError
from sa_engine.model.card import ModelCard
from sa_engine.model.checkpoint import read_card, save_checkpoint
from sa_engine.model.variants import build_sam
from sa_engine.model.weights import bundled_model
from sa_engine.pipelines.train import TrainOptions, build_recipe, start_of


def test_a_run_has_the_encoder_and_size_of_its_start_unless_told(tmp_path: Path) -> None:
    init = tmp_path / "init.safetensors"
    sam = build_sam("vit_t", image_size=96)
    save_checkpoint(sam, init, ModelCard(name="init", variant="vit_t", image_size=96))

    def chosen(**train: Any) -> tuple[str, int]:
        changes = {"train": train}
        options = TrainOptions(data=(), out=tmp_path / "o", init=init, changes=changes)
        made = build_recipe(options).train
        return made.variant, made.image_size

    assert chosen() == ("vit_t", 96)
    assert chosen(image_size=64) == ("vit_t", 64)
    assert chosen(variant="vit_l") == ("vit_l", 96)


def test_a_start_that_is_not_there_is_named(tmp_path: Path) -> None:
    options = TrainOptions(data=(), out=tmp_path / "o", init=tmp_path / "lost.safetensors")
    with pytest.raises(UsageError, match="lost"):
        build_recipe(options)


def test_finetuning_starts_from_the_bundled_model_unless_told(tmp_path: Path) -> None:
    options = TrainOptions(data=(), out=tmp_path / "o", recipe="finetune")
    card = read_card(bundled_model())
    assert start_of(options) == bundled_model()
    made = build_recipe(options).train
    assert (made.variant, made.image_size) == (card.variant, card.image_size)

    init = tmp_path / "init.safetensors"
    assert start_of(replace(options, init=init)) == init
    assert start_of(replace(options, recipe="scratch")) is None
