"""Options of training, proposing and generating as a loop's config gives them: checked by field."""

from collections.abc import Mapping
from dataclasses import Field, fields, is_dataclass
from enum import Enum
from types import NoneType, UnionType
from typing import Any, get_args, get_origin

from sa_engine.automask.config import PRESETS, GeneratorConfig, resolve
from sa_engine.automask.proposal_config import ProposalConfig
from sa_engine.detection.config import DetectorConfig
from sa_engine.errors import UsageError
from sa_engine.pipelines.loop.tables import Table
from sa_engine.pipelines.train import TrainOptions, build_recipe
from sa_engine.training.data.photos import JitterConfig
from sa_engine.training.data.samples import PromptConfig
from sa_engine.training.data.scene_config import SCENES
from sa_engine.training.detector.config import (
    DetectorJitterConfig,
    DetectorLossConfig,
    DetectorOptimConfig,
    DetectorTrainConfig,
)
from sa_engine.training.optim_config import OptimConfig
from sa_engine.training.sam.config import LossWeights, RoundsConfig, TrainConfig
from sa_engine.training.sam.recipes import RECIPES

Parts = Mapping[str, type]

TRAIN_PARTS: Parts = {
    "train": TrainConfig,
    "prompts": PromptConfig,
    "rounds": RoundsConfig,
    "losses": LossWeights,
    "optim": OptimConfig,
    "jitter": JitterConfig,
}

DETECTOR_PARTS: Parts = {
    "train": DetectorTrainConfig,
    "net": DetectorConfig,
    "losses": DetectorLossConfig,
    "optim": DetectorOptimConfig,
    "jitter": DetectorJitterConfig,
}


def train_changes(table: Table, *, from_random: bool) -> dict[str, Any]:
    """The options of `TrainPlan` that change a recipe, by name: recipe, changes and the like.

    from_random: whether the training starts from random weights.
    """
    fitting = [name for name, make in RECIPES.items() if not (from_random and make().needs_start)]
    usual = "scratch" if from_random else "finetune"
    known: dict[str, Any] = {
        "recipe": table.choice("recipe", fitting, usual),
        "changes": by_part(table, TRAIN_PARTS),
    }
    for key in ("synthetic", "mask_area_power"):
        if key in table:
            known[key] = table.number(key, 0.0, least=-10.0, most=10.0)
    if "scenes" in table:
        known["scenes"] = table.choice("scenes", SCENES)
    synthetic = known.get("synthetic", 0.0)
    if not 0 <= synthetic <= 1:
        raise UsageError(f"{table.where}: synthetic is {synthetic:g}, it must be from 0 to 1")
    try:
        build_recipe(TrainOptions(data=(), out=None, **known))  # type: ignore[arg-type]  # no output
    except UsageError as error:
        raise UsageError(f"{table.where}: {error}") from error
    return known


def detector_changes(table: Table) -> dict[str, dict[str, Any]]:
    """Options of the detector's training by part."""
    changes = by_part(table, DETECTOR_PARTS)
    for part, kind in DETECTOR_PARTS.items():
        _build(table, kind, changes.get(part, {}))
    return changes


def proposal_options(table: Table) -> dict[str, Any]:
    """Parameters of proposing that are given."""
    options = _given(table, ProposalConfig)
    _build(table, ProposalConfig, options)
    return options


def auto_options(table: Table) -> tuple[str, dict[str, Any]]:
    """The preset, and the mask generator's parameters that are given."""
    preset = table.choice("preset", PRESETS, "default")
    options = _given(table, GeneratorConfig)
    try:
        resolve(preset=preset, options=options)
    except UsageError as error:
        raise UsageError(f"{table.where}: {error}") from error
    return preset, options


def by_part(table: Table, parts: Parts) -> dict[str, dict[str, Any]]:
    """Values of fields of several configs, whose names are distinct, by config."""
    found = {part: _given(table, kind) for part, kind in parts.items()}
    return {part: values for part, values in found.items() if values}


def _given(table: Table, kind: type) -> dict[str, Any]:
    known = {f.name: f for f in fields(kind) if _kinds(f)}
    values = table.values(known)
    return {name: _value(table, known[name], value) for name, value in values.items()}


def _build(table: Table, kind: type, values: Mapping[str, Any]) -> None:
    try:
        kind(**values)
    except (ValueError, UsageError) as error:
        raise UsageError(f"{table.where}: {error}") from error


def _kinds(field: Field[Any]) -> tuple[Any, ...]:
    """The types of a field's values that TOML can give; () for configs within configs."""
    is_union = get_origin(field.type) is UnionType
    kinds = get_args(field.type) if is_union else (field.type,)
    kinds = tuple(kind for kind in kinds if kind is not NoneType)
    plain = all(
        isinstance(kind, type) and not is_dataclass(kind) and kind is not tuple for kind in kinds
    )
    return kinds if plain else ()


def _value(table: Table, field: Field[Any], value: Any) -> Any:
    """A TOML value as a field's own type. UsageError if it is of another."""
    for kind in _kinds(field):
        if issubclass(kind, Enum):
            choices = [str(each.value) for each in kind]
            if value in choices:
                return kind(value)
            raise UsageError(
                f"{table.where}: {field.name} is {value!r}; there are {', '.join(choices)}"
            )
        if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        if type(value) is kind:
            return value
    names = " or ".join(kind.__name__ for kind in _kinds(field))
    raise UsageError(f"{table.where}: {field.name} is {value!r}, it must be {names}")
