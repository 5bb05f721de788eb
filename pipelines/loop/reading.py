"""A loop's config from its TOML file.

Everything that can be wrong with it is found before any work: unknown keys, values out of range,
missing files, names that nothing has, rounds that wait for each other.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sa_engine.errors import UsageError
from sa_engine.formats.registry import Format
from sa_engine.pipelines.export import OutFormat
from sa_engine.pipelines.loop.config import (
    ACCEPT_IOU,
    CALIBRATE,
    PROMOTED,
    RANDOM,
    TOOLS,
    DetectorPlan,
    Gather,
    HeldOut,
    InBrowser,
    Kind,
    LoopConfig,
    People,
    Round,
    Simulated,
    TrainPlan,
)
from sa_engine.pipelines.loop.options import (
    auto_options,
    detector_changes,
    proposal_options,
    train_changes,
)
from sa_engine.pipelines.loop.references import check_references
from sa_engine.pipelines.loop.tables import Table, read_toml


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
    own_folder = top.new_path("out")
    evaluate, round_tables = top.table("evaluate"), top.tables("round")
    settings: dict[str, Any] = {
        "name": top.text("name", path.stem) or path.stem,
        "device": top.choice("device", ("auto", "cpu", "cuda", "mps"), "auto"),
        "precision": top.choice("precision", ("auto", "fp32", "bf16", "fp16"), "auto"),
        "workers": top.integer("workers", 1, least=1),
        "data_workers": top.integer("data_workers", 0),
    }
    # A misspelt key first: it may be why another seems to be missing.
    top.finish()
    folder = out or own_folder
    if folder is None:
        raise UsageError(f'{path} names no folder for the loop: add out = "...", or give --out')
    if evaluate is None:
        raise UsageError(
            f"{path} has no [evaluate]: say which held-out masks decide whether a round is better"
        )
    if not round_tables:
        raise UsageError(f"{path} has no round: add [[round]] with what it gathers and trains")
    rounds = tuple(map(_round, round_tables))
    held_out = _held_out(evaluate)
    config = LoopConfig(
        out=folder,
        held_out=held_out,
        rounds=rounds,
        model=model,
        checkpoint=checkpoint,
        detector=detector,
        **settings,
    )
    check_references(config)
    return config


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
    if kind is Kind.ANNOTATE:
        _needed(table, "images", known["images"])
        known["work"] = _needed(table, "work", table.new_path("work"))
        known["take"] = table.integer("take", least=1)
        if known["take"] is None:
            raise UsageError(f"{table.where} needs 'take': add how many images the round takes")
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


def _corrected(table: Table) -> People | InBrowser | Simulated:
    by = table.choice("by", ("people", "browser", "masks"))
    found: People | InBrowser | Simulated
    if by == "people":
        tool = OutFormat(table.choice("tool", [tool.value for tool in TOOLS]))
        found = People(tool=tool, file=_needed(table, "file", table.new_path("file")))
    elif by == "browser":
        work = _needed(table, "work", table.new_path("work"))
        found = InBrowser(work=work, take=table.integer("take", least=1))
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
    known["calibrate"] = table.integer("calibrate", CALIBRATE)
    for key in ("pred_iou_thresh", "stability_score_thresh"):
        if key in table:
            known[key] = table.number(key, 0.0, most=1.0)
    known |= train_changes(table, from_random=known["init"] == RANDOM)
    table.finish()
    return TrainPlan(**known)


def _detector(table: Table) -> DetectorPlan:
    plan = DetectorPlan(
        data=table.texts("data"),
        init=table.choice("init", (PROMOTED, RANDOM), PROMOTED),
        changes=detector_changes(table),
    )
    table.finish()
    return plan


def _needed(table: Table, key: str, value: Any) -> Any:
    if value is None:
        raise UsageError(f'{table.where} needs {key!r}: add {key} = "..."')
    return value
