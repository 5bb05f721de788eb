"""What a loop is told: rounds of gathering, training and judging, declared in a TOML file.

Everything that can be wrong with it is found here, before any work: unknown keys, missing files,
names that nothing has, rounds that wait for each other.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from sa_engine.dataset.records import Stage
from sa_engine.detection.file import bundled_detector
from sa_engine.errors import UsageError
from sa_engine.formats.detect import Format
from sa_engine.model.weights import DEFAULT_MODEL, bundled_model
from sa_engine.pipelines.exporting import OutFormat
from sa_engine.pipelines.loop_options import (
    auto_options,
    detector_changes,
    proposal_options,
    train_changes,
)
from sa_engine.pipelines.loop_table import Table, hint, read_toml

ACCEPT_IOU = 0.8
"""A proposal that fits an object this well is worth taking over."""

PROMOTED = "promoted"
START = "start"
RANDOM = "random"

TOOLS = (OutFormat.COCO, OutFormat.CVAT, OutFormat.LABEL_STUDIO, OutFormat.LABELME)
"""Formats in which proposals go out to people and come back."""


class Kind(StrEnum):
    """Where a set of masks comes from."""

    IMPORT = "import"
    DATASET = "dataset"
    SEMI = "semi"
    AUTO = "auto"


@dataclass(frozen=True, slots=True, kw_only=True)
class People:
    """Proposals are corrected in an annotation tool; the loop waits until the file is there.

    tool: the format of what they get. file: where what they made of it will lie.
    """

    tool: OutFormat
    file: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulated:
    """Proposals are corrected by masks that people drew before and that were held back.

    masks: a dataset with all masks of the images. accept_iou: a proposal with at least this IoU to
        one of them is taken over, (0, 1]; the others are deleted, and what is missing is drawn.
    """

    masks: Path
    accept_iou: float = ACCEPT_IOU


@dataclass(frozen=True, slots=True, kw_only=True)
class Gather:
    """One set of masks.

    name: unique in the loop; the set's name in mixtures, too.
    annotations, format: of "import". images: of "import", "semi" and "auto"; see `list_sources`; a
        dataset's folder stands for its images.
    data: of "dataset".
    model: of "semi" and "auto": "promoted" (the best so far), "start", or a round's name.
    existing: of "semi": a set whose masks are not proposed again.
    by: of "semi": who corrects the proposals; None takes them as they are.
    preset: of "auto". options: further options of "semi" or "auto", as on the command line.
    limit: only the first so many images.
    """

    name: str
    kind: Kind
    annotations: Path | None = None
    format: Format | None = None
    images: str | None = None
    data: Path | None = None
    model: str = PROMOTED
    existing: str | None = None
    by: People | Simulated | None = None
    preset: str = "default"
    options: Mapping[str, Any] = field(default_factory=dict)
    limit: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainPlan:
    """How a round trains the promptable model.

    data: sets to train on; None for all that were gathered until then.
    init: weights to start from: "promoted", "start", "random", or a round's name.
    recipe: a name of RECIPES. changes: options by part, as in `TrainOptions`.
    synthetic, mask_area_power, scenes: see `TrainOptions`.
    pred_iou_thresh, stability_score_thresh: what the new model's card recommends; None for what the
        card of its start does.
    """

    data: tuple[str, ...] | None = None
    init: str = PROMOTED
    recipe: str = "scratch"
    changes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    synthetic: float | None = None
    mask_area_power: float | None = None
    scenes: str | None = None
    pred_iou_thresh: float | None = None
    stability_score_thresh: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorPlan:
    """How a round trains a box detector, on the image encoder of the model promoted by then.

    data: sets to train on; None for all that were gathered until then. changes: options by part.
    """

    data: tuple[str, ...] | None = None
    changes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One round of the loop.

    mix: how often a set or a stage is drawn in training, by name; see `TrainOptions.weights`.
    min_gain: its model is promoted if its mean IoU on the held-out sets is higher by more than
        this than that of the model promoted so far.
    """

    name: str
    gather: tuple[Gather, ...] = ()
    mix: Mapping[str, float] = field(default_factory=dict)
    train: TrainPlan | None = None
    detector: DetectorPlan | None = None
    min_gain: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOut:
    """How every model is measured: one click on each object of sets that nothing is trained on.

    sets: gathered as rounds gather, by "import" or "dataset".
    points: clicks given, from 1. max_images, max_masks: see `PointsConfig`. seed: of the choice.
    """

    sets: tuple[Gather, ...]
    points: int = 1
    max_images: int | None = None
    max_masks: int | None = None
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopConfig:
    """A whole loop.

    out: the folder that everything is made in. name: its title.
    model: name of a bundled model to start from; checkpoint: a weights file instead; with neither,
        the engine's own. detector: one for that model, if there is one.
    device, precision: "auto" takes the best that the machine has.
    workers: processes that make masks. data_workers: processes that prepare training samples.
    """

    out: Path
    held_out: HeldOut
    rounds: tuple[Round, ...]
    name: str = "loop"
    model: str | None = None
    checkpoint: Path | None = None
    detector: Path | None = None
    device: str = "auto"
    precision: str = "auto"
    workers: int = 1
    data_workers: int = 0

    def __post_init__(self) -> None:
        check_references(self)

    @property
    def first_model(self) -> Path:
        """The weights that the loop starts from."""
        return self.checkpoint or bundled_model(self.model or DEFAULT_MODEL)

    @property
    def first_detector(self) -> Path | None:
        """The detector that there is from the start: the one given, or that of a bundled model."""
        if self.detector is not None or self.checkpoint is not None:
            return self.detector
        return bundled_detector(self.model or DEFAULT_MODEL)


def read_loop(
    path: Path, *, out: Path | None = None, variables: Mapping[str, str] | None = None
) -> LoopConfig:
    """Read a loop's config.

    out: instead of the file's own. variables: instead of those of the same name under [variables].
    Raises UsageError for whatever is wrong with it.
    """
    top = read_toml(path, given=variables or {})
    start = top.table("start")
    model = checkpoint = detector = None
    if start is not None:
        model, checkpoint = start.text("model"), start.path("checkpoint")
        detector = start.path("detector")
        if model is not None and checkpoint is not None:
            raise UsageError(f"{start.where}: model and checkpoint exclude each other")
        start.finish()
    folder = out or top.new_path("out")
    top.new_path("out")
    if folder is None:
        raise UsageError(f'{path} names no folder for the loop: add out = "...", or give --out')
    evaluate = top.table("evaluate")
    if evaluate is None:
        raise UsageError(
            f"{path} has no [evaluate]: say which held-out masks decide whether a round is better"
        )
    rounds = tuple(_round(table) for table in top.tables("round"))
    if not rounds:
        raise UsageError(f"{path} has no round: add [[round]] with what it gathers and trains")
    settings: dict[str, Any] = {
        "name": top.text("name", path.stem) or path.stem,
        "device": top.choice("device", ("auto", "cpu", "cuda", "mps"), "auto"),
        "precision": top.choice("precision", ("auto", "fp32", "bf16", "fp16"), "auto"),
        "workers": top.integer("workers", 1, least=1),
        "data_workers": top.integer("data_workers", 0),
    }
    held_out = _held_out(evaluate)
    top.finish()
    return LoopConfig(
        out=folder,
        held_out=held_out,
        rounds=rounds,
        model=model,
        checkpoint=checkpoint,
        detector=detector,
        **settings,
    )


def _held_out(table: Table) -> HeldOut:
    sets = [_gather(each, (Kind.IMPORT, Kind.DATASET)) for each in table.tables("gather")]
    sets += [
        Gather(name=path.resolve().name, kind=Kind.DATASET, data=path)
        for path in table.paths("data")
    ]
    if not sets:
        raise UsageError(f'{table.where} names no masks: add data = ["..."] with a dataset')
    plan = HeldOut(
        sets=tuple(sets),
        points=table.integer("points", 1, least=1) or 1,
        max_images=table.integer("max_images", least=1),
        max_masks=table.integer("max_masks", least=1),
        seed=table.integer("seed", 0) or 0,
    )
    table.finish()
    return plan


def _round(table: Table) -> Round:
    name = table.needed_text("name")
    gather = tuple(_gather(each, tuple(Kind)) for each in table.tables("gather"))
    train, detector = table.table("train"), table.table("detector")
    found = Round(
        name=name,
        gather=gather,
        mix=table.weights("mix"),
        train=None if train is None else _train(train),
        detector=None if detector is None else _detector(detector),
        min_gain=table.number("min_gain", 0.0, least=-1.0, most=1.0),
    )
    table.finish()
    return found


def _gather(table: Table, kinds: tuple[Kind, ...]) -> Gather:
    name = table.needed_text("name")
    kind = Kind(table.choice("kind", [each.value for each in kinds]))
    known: dict[str, Any] = {}
    if kind is Kind.DATASET:
        known["data"] = _needed(table, "data", table.path("data"))
    else:
        known["limit"] = table.integer("limit", least=1)
        known["images"] = table.images("images")
    if kind is Kind.IMPORT:
        known["annotations"] = _needed(table, "annotations", table.path("annotations"))
        if "format" in table:
            known["format"] = Format(table.choice("format", [each.value for each in Format]))
    if kind in (Kind.SEMI, Kind.AUTO):
        _needed(table, "images", known["images"])
        known["model"] = table.text("model", PROMOTED)
    if kind is Kind.SEMI:
        known["existing"] = table.text("existing")
        known["options"] = proposal_options(table)
        corrected = table.table("corrected")
        if corrected is not None:
            known["by"] = _corrected(corrected)
    if kind is Kind.AUTO:
        preset, known["options"] = auto_options(table)
        known["preset"] = preset
    table.finish()
    return Gather(name=name, kind=kind, **known)


def _corrected(table: Table) -> People | Simulated:
    by = table.choice("by", ("people", "masks"))
    if by == "people":
        tool = OutFormat(table.choice("tool", [tool.value for tool in TOOLS]))
        found: People | Simulated = People(
            tool=tool, file=_needed(table, "file", table.new_path("file"))
        )
    else:
        least = 1e-6
        found = Simulated(
            masks=_needed(table, "masks", table.path("masks")),
            accept_iou=table.number("accept_iou", ACCEPT_IOU, least=least, most=1.0),
        )
    table.finish()
    return found


def _train(table: Table) -> TrainPlan:
    known: dict[str, Any] = {"data": table.texts("data"), "init": table.text("init", PROMOTED)}
    for key in ("pred_iou_thresh", "stability_score_thresh"):
        if key in table:
            known[key] = table.number(key, 0.0, most=1.0)
    known |= train_changes(table)
    table.finish()
    return TrainPlan(**known)


def _detector(table: Table) -> DetectorPlan:
    plan = DetectorPlan(data=table.texts("data"), changes=detector_changes(table))
    table.finish()
    return plan


def _needed(table: Table, key: str, value: Any) -> Any:
    if value is None:
        raise UsageError(f'{table.where} needs {key!r}: add {key} = "..."')
    return value


def check_references(config: LoopConfig) -> None:
    """Every name means something that is made before it is needed. Raises UsageError if not.

    Rounds run in the order in which they stand; where two wait for each other, or for themselves,
    the cycle is named.
    """
    if not config.rounds:
        raise UsageError("a loop needs one round or more")
    _check_names(config)
    needs = _needs(config)
    order = {r.name: place for place, r in enumerate(config.rounds)}
    for name, needed in needs.items():
        for other, why in needed.items():
            if order[other] < order[name]:
                continue
            cycle = _path(needs, other, name)
            if cycle is not None:
                raise UsageError(f"the rounds wait for each other: {' -> '.join([name, *cycle])}")
            raise UsageError(
                f"round {name!r} {why}, but round {other!r} comes later: put it before"
            )
    has_detector = config.first_detector is not None
    for each in config.rounds:
        for part in each.gather:
            if part.kind is Kind.SEMI and not has_detector:
                raise UsageError(
                    f"round {each.name!r} proposes masks, but no round before it trains a "
                    "detector: add [round.detector] to an earlier one, or detector under [start]"
                )
        has_detector = has_detector or each.detector is not None


def _check_names(config: LoopConfig) -> None:
    sets = [each.name for r in config.rounds for each in r.gather]
    held_out = [each.name for each in config.held_out.sets]
    taken = {PROMOTED, START, RANDOM}
    for kind, names in (("round", [r.name for r in config.rounds]), ("set", [*sets, *held_out])):
        for place, name in enumerate(names):
            if name in names[:place]:
                raise UsageError(f"two {kind}s have the name {name!r}: give each its own")
            if kind == "set" and name in set(Stage):
                raise UsageError(f"a set cannot be named {name!r}, for mixtures name a stage so")
            if name in taken or not name or set(name) & set("/\\\0") or name.startswith("."):
                raise UsageError(f"{kind} name {name!r} cannot be used: choose another")
    rounds = [r.name for r in config.rounds]
    for each in config.rounds:
        stages = [stage.value for stage in Stage]
        for name in each.mix:
            _check_name(each, f"mix names {name!r}", name, [*sets, *stages])
        for part in each.gather:
            if part.existing is not None:
                _check_name(each, f"existing is {part.existing!r}", part.existing, sets)
            if part.kind in (Kind.SEMI, Kind.AUTO):
                known = [PROMOTED, START, *rounds]
                _check_name(each, f"model is {part.model!r}", part.model, known)
        for plan in (each.train, each.detector):
            for name in (plan.data if plan is not None else None) or ():
                _check_name(each, f"data names {name!r}", name, sets)
        if each.train is not None:
            init = each.train.init
            known = [PROMOTED, START, RANDOM, *rounds]
            _check_name(each, f"init is {init!r}", init, known)


def _check_name(each: Round, what: str, name: str, known: list[str]) -> None:
    if name not in known:
        raise UsageError(
            f"round {each.name!r}: {what}{hint(name, known)}; there are {', '.join(known)}"
        )


def _needs(config: LoopConfig) -> dict[str, dict[str, str]]:
    """The other rounds that each round needs, with the reason; its own sets are at hand."""
    makers = {each.name: r.name for r in config.rounds for each in r.gather}
    needs: dict[str, dict[str, str]] = {}
    for each in config.rounds:
        needed: dict[str, str] = {}
        earlier: list[str] = []
        for part in each.gather:
            if part.kind in (Kind.SEMI, Kind.AUTO) and part.model not in (PROMOTED, START):
                needed.setdefault(part.model, f"uses the model of {part.model!r}")
            if part.existing is not None and part.existing not in earlier:
                needed.setdefault(makers[part.existing], f"looks at the set {part.existing!r}")
            earlier.append(part.name)
        for plan in (each.train, each.detector):
            for name in (plan.data if plan is not None else None) or ():
                if makers[name] != each.name:
                    needed.setdefault(makers[name], f"trains on the set {name!r}")
        if each.train is not None and each.train.init not in (PROMOTED, START, RANDOM):
            needed.setdefault(each.train.init, f"starts from the model of {each.train.init!r}")
        needs[each.name] = needed
    return needs


def _path(needs: Mapping[str, Mapping[str, str]], start: str, goal: str) -> list[str] | None:
    """A chain of needs from one round to another."""
    if start == goal:
        return [start]
    for other in needs.get(start, {}):
        found = _path({k: v for k, v in needs.items() if k != start}, other, goal)
        if found is not None:
            return [start, *found]
    return None
