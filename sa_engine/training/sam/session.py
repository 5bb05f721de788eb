"""One training run from datasets to a weights file."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sa_engine.errors import UsageError
from sa_engine.model.card import ModelCard
from sa_engine.model.checkpoint import (
    load_checkpoint,
    read_card,
    resize_positions,
    save_checkpoint,
)
from sa_engine.model.encoders.imagenet import imagenet_backbone
from sa_engine.model.encoders.lite import LiteEncoder
from sa_engine.model.sam import Sam
from sa_engine.model.variants import build_sam
from sa_engine.training.data.mixture import Mixture, SampleSource
from sa_engine.training.data.photos import PhotoSource, usable_records
from sa_engine.training.data.samples import Sample
from sa_engine.training.data.scene_fills import Rgb
from sa_engine.training.data.scene_source import SceneSource
from sa_engine.training.data.sets import open_sets
from sa_engine.training.distributed import World
from sa_engine.training.metrics import last_reports
from sa_engine.training.options import digest_of, digest_of_file, flat_options
from sa_engine.training.sam.memory import check_memory
from sa_engine.training.sam.recipes import Recipe
from sa_engine.training.sam.report import StepReport
from sa_engine.training.sam.task import SamTrainer
from sa_engine.training.state import STATE_NAME, check_model_file, only_run

SCENE_PHOTOS = 400
"""Images of the training sets that synthetic scenes cut their fills from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainRequest:
    """What to train, on what, into which file.

    data: datasets, each by its folder's name, and packs.
    weights: by set or by stage; a set without one has the square root of its number of images.
    out: the safetensors file; state and metrics lie beside it, in "<out>.run".
    init: weights to start from; None for random ones.
    name: the model's name on its card. data_workers: processes that prepare samples.
    """

    data: Sequence[Path | str]
    out: Path
    recipe: Recipe
    weights: Mapping[str, float] = field(default_factory=dict)
    init: Path | None = None
    name: str = ""
    data_workers: int = 0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    world: World = field(default_factory=World)
    tensorboard: bool = False

    @property
    def run_folder(self) -> Path:
        """Where the run keeps its state and metrics."""
        return self.out.with_name(self.out.name + ".run")


@dataclass(frozen=True, slots=True)
class TrainingData:
    """Sets ready to draw from: their sources and weights; digests by name; a line on each."""

    sources: list[SampleSource[Sample]]
    weights: list[float]
    digests: dict[str, str]
    lines: tuple[str, ...]


def train_sam(
    request: TrainRequest,
    *,
    report: Callable[[StepReport], None] = lambda _: None,
    on_step: Callable[[int], None] = lambda _: None,
) -> ModelCard:
    """Train, or continue a run that was stopped, and write the weights file with its card.

    Everything that can be wrong with the request is found before the first step. A finished model
    is never written again: its card, which may hold results and thresholds by now, is returned.

    Raises UsageError for an empty set, an unknown name in the weights, a checkpoint of another
    architecture, a batch that does not fit, a file that another run or program wrote; TrainingError
    if training cannot go on.
    """
    check_model_file(request.out, request.run_folder / STATE_NAME)
    with only_run(request.run_folder, is_main=request.world.is_main):
        return _train(request, report, on_step)


def _train(
    request: TrainRequest,
    report: Callable[[StepReport], None],
    on_step: Callable[[int], None],
) -> ModelCard:
    config = request.recipe.train
    data = open_data(request)
    sam = load_start(request)
    check_memory(sam, config, device=request.device, processes=request.world.size)
    fingerprint = _fingerprint(request, data)
    trainer = SamTrainer(
        sam,
        Mixture(data.sources, data.weights, seed=config.seed),
        config=config,
        folder=request.run_folder,
        world=request.world,
        device=request.device,
        data_workers=request.data_workers,
        fingerprint=fingerprint,
    )
    if trainer.is_finished and request.out.exists():
        return read_card(request.out)
    trainer.run(report=report, on_step=on_step, tensorboard=request.tensorboard)
    card = _card(request, data, last_reports(request.run_folder, StepReport))
    if request.world.is_main:
        final = build_sam(config.variant, config.image_size)
        final.load_state_dict(trainer.averaged_weights)
        save_checkpoint(final, request.out, card)
    return card


def open_data(request: TrainRequest) -> TrainingData:
    """Open every set and check the weights. Raises UsageError with the name at fault."""
    recipe = request.recipe
    opened = open_sets(request.data, request.weights)
    sources: list[SampleSource[Sample]] = []
    weights: list[float] = []
    digests: dict[str, str] = {}
    lines: list[str] = []
    photos: list[Rgb] = []
    for name, dataset in opened.sets.items():
        records = usable_records(dataset, name)
        source = PhotoSource(
            name=name,
            dataset=dataset,
            records=records,
            size=recipe.train.image_size,
            prompts=recipe.train.prompts,
            jitter=recipe.jitter,
            stage_weights=opened.stages,
            mask_area_power=recipe.mask_area_power,
        )
        sources.append(source)
        weights.append(opened.weights.get(name, math.sqrt(len(records))) * source.stage_share())
        if weights[-1] > 0:
            source.check()
        digests[name] = dataset.digest()
        masks = sum(not m.iscrowd for r in records for m in r.annotations)
        lines.append(f"{name}: {len(records)} images, {masks} masks, sha256 {digests[name]}")
        if recipe.synthetic:
            share = max(1, SCENE_PHOTOS // len(opened.sets))
            picked = records[:: max(1, len(records) // share)][:share]
            photos.extend(dataset.read_rgb(record) for record in picked)
    if sum(weights) <= 0 < len(weights):
        raise UsageError("every set has weight 0; give one of them a weight above 0")
    return _with_scenes(recipe, TrainingData(sources, weights, digests, tuple(lines)), photos)


def _with_scenes(recipe: Recipe, data: TrainingData, photos: Sequence[Rgb]) -> TrainingData:
    share = recipe.synthetic if data.sources else 1.0
    if not share:
        return data
    scenes = SceneSource(
        size=recipe.train.image_size,
        prompts=recipe.train.prompts,
        scenes=recipe.scenes,
        photos=tuple(photos),
    )
    lines = (*data.lines, f"synthetic scenes: {share:.0%} of all samples")
    if share == 1:
        return TrainingData([scenes], [1.0], data.digests, lines)
    weight = sum(data.weights) * share / (1 - share)
    return TrainingData([*data.sources, scenes], [*data.weights, weight], data.digests, lines)


def load_start(request: TrainRequest) -> Sam:
    """The model to train: from weights, or random by the seed with a lite backbone of ImageNet."""
    config = request.recipe.train
    torch.manual_seed(config.seed)
    sam = build_sam(config.variant, config.image_size, drop_path=config.drop_path)
    if config.freeze_encoder:
        sam.freeze_encoder()
    if config.freeze_stages:
        sam.freeze_stages(config.freeze_stages)
    if request.init is None:
        if config.freeze_encoder:
            raise UsageError(
                "a frozen image encoder of random weights sees nothing; give the weights to start "
                "from (--init), or train the encoder, too"
            )
        if isinstance(sam.image_encoder, LiteEncoder):
            sam.image_encoder.backbone.load_state_dict(imagenet_backbone(config.variant))
        return sam
    start = load_checkpoint(request.init)
    if start.variant != config.variant:
        raise UsageError(
            f"{request.init} holds a {start.variant}, the run wants a {config.variant}; "
            f"give --arch {start.variant} or another --init"
        )
    # A run may start small and end large: a ViT's position tables follow the size.
    sam.load_state_dict(resize_positions(start.state_dict(), sam))
    return sam


def _fingerprint(request: TrainRequest, data: TrainingData) -> str:
    """A digest of all that a continued run must share."""
    return digest_of(
        {
            "recipe": recipe_options(request.recipe),
            "data": data.digests,
            "weights": data.weights,
            "init": None if request.init is None else digest_of_file(request.init),
        }
    )


def recipe_options(recipe: Recipe) -> dict[str, Any]:
    """Every option of a recipe that changes the result, flat, with JSON values.

    How a batch is cut into parts changes nothing but rounding, and so is not among them.
    """
    flat = flat_options(recipe)
    for ignored in ("train.micro_batch", "train.compile_model", "needs_start"):
        flat.pop(ignored)
    return flat


def _card(request: TrainRequest, data: TrainingData, recent: Sequence[StepReport]) -> ModelCard:
    config = request.recipe.train
    results: dict[str, float] = {}
    for key in ("loss", "first_best_iou", "first_own_iou", "last_iou", "iou_error"):
        values = [getattr(r, key) for r in recent]
        if values:
            results[f"training_{key}"] = float(np.mean(values))
    card = ModelCard(
        name=request.name or request.out.stem,
        variant=config.variant,
        image_size=config.image_size,
        data=data.lines,
        options=recipe_options(request.recipe),
        results=results,
    )
    if request.init is None:
        return card
    # Its start's thresholds, until better are found: `sa-engine evaluate thresholds --write`.
    start = read_card(request.init)
    return replace(
        card,
        pred_iou_thresh=start.pred_iou_thresh,
        stability_score_thresh=start.stability_score_thresh,
        mask_nms_thresh=start.mask_nms_thresh,
    )
