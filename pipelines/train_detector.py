"""Retraining the box detector: datasets and a frozen image encoder in, a detector file out.

Source: "Segment Anything", section 4, "Semi-automatic stage": a detector of one category, "object",
is trained on the masks of stage 1.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sa_engine.detection.card import DetectorCard
from sa_engine.errors import UsageError
from sa_engine.model.checkpoint import load_checkpoint, read_card
from sa_engine.model.weights import DEFAULT_MODEL, bundled_model
from sa_engine.training.detector.config import DetectorTrainConfig
from sa_engine.training.detector.report import DetectorReport
from sa_engine.training.detector.session import DetectorRequest, train_detector
from sa_engine.training.distributed import training_place


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorOptions:
    """What `sa-engine train detector` was told.

    data: datasets, at least one. weights: by set or stage, as in `TrainOptions`. out: the file.
    model: the name of a model that comes with the engine, whose image encoder the detector stands
        on; not together with `checkpoint`, a weights file. With neither, the engine's own.
    changes: options by part ("train", "net", "losses", "optim", "jitter") and name; those not named
        keep their defaults.
    init: a detector to start from, of the same network, whatever encoder it was trained on.
    device: "auto", "cpu", "cuda" or "mps". data_workers: processes that prepare samples.
    """

    data: Sequence[Path | str]
    out: Path
    model: str | None = None
    checkpoint: Path | None = None
    weights: Mapping[str, float] = field(default_factory=dict)
    changes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    init: Path | None = None
    name: str = ""
    device: str = "auto"
    data_workers: int = 0
    tensorboard: bool = False


def retrain_detector(
    options: DetectorOptions,
    *,
    report: Callable[[DetectorReport], None] = lambda _: None,
    on_step: Callable[[int], None] = lambda _: None,
) -> DetectorCard:
    """Train a detector, or go on where an earlier run stopped, and write its file with its card.

    on_step: called after each step with the steps done, on the main process.

    Raises UsageError for options or data that cannot work, TrainingError if training cannot go on.
    """
    if options.model is not None and options.checkpoint is not None:
        raise UsageError("--model and --checkpoint exclude each other: give one of them")
    config = build_config(options)
    checkpoint = options.checkpoint or bundled_model(options.model or DEFAULT_MODEL)
    with training_place(options.device) as (world, device):
        request = DetectorRequest(
            sam=load_checkpoint(checkpoint),
            model_name=read_card(checkpoint).name,
            data=options.data,
            out=options.out,
            config=config,
            weights=options.weights,
            init=options.init,
            name=options.name,
            data_workers=options.data_workers,
            device=device,
            world=world,
            tensorboard=options.tensorboard,
        )
        return train_detector(
            request,
            report=report if world.is_main else lambda _: None,
            on_step=on_step if world.is_main else lambda _: None,
        )


def build_config(options: DetectorOptions) -> DetectorTrainConfig:
    """The defaults with the changes. Raises UsageError, naming the option at fault."""
    config = DetectorTrainConfig()
    changes = {part: dict(values) for part, values in options.changes.items()}
    run = changes.pop("train", {})
    try:
        for part, values in changes.items():
            run[part] = replace(getattr(config, part), **values)
        return replace(config, **run)
    except ValueError as error:
        raise UsageError(str(error)) from error
