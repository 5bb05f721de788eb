"""What a loop writes beside its steps: round folders, the registry, the page, links."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import Any

from sa_engine.dataset.folder.base import explain_write
from sa_engine.dataset.folder.sealed import seal
from sa_engine.pipelines.loop.config import (
    START,
    Round,
)
from sa_engine.pipelines.loop.parts import (
    DETECTOR_NAME,
    MODEL_NAME,
    GatheredSet,
)
from sa_engine.pipelines.loop.registry import Registry, read_registry
from sa_engine.pipelines.loop.state import LoopState, RoundState
from sa_engine.pipelines.loop.steps import replace_file
from sa_engine.report.loop_page import LoopPage, RoundRow, loop_page

ROUNDS = "rounds"
PAGE_NAME = "index.html"
ROUND_NAME = "round.json"


def write_round(
    out: Path, place: int, each: Round, state: RoundState, held_out: Sequence[GatheredSet]
) -> None:
    """Write a round's folder: round.json, and links to its sets and models.

    place: of the round, from 1.
    """
    folder = out / ROUNDS / f"{place:02d}-{each.name}"
    with explain_write(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for gathered in state.sets:
            _link(folder / gathered.name, gathered.path, out)
        if state.model is not None:
            _link(folder / MODEL_NAME, state.model.path, out)
        if state.detector is not None:
            _link(folder / DETECTOR_NAME, state.detector.path, out)
    digests = {each.name: each.digest for each in held_out}
    content = {**_round_json(state, out), "config": _json(each), "held_out": digests}
    replace_file(folder / ROUND_NAME, seal(content))


def write_state(state: LoopState, held_out: Sequence[GatheredSet]) -> None:
    """Write registry and page, and let links name what is in force."""
    out = state.config.out
    registry = read_registry(out)
    _enter(registry, state, held_out)
    registry.save(out)
    with explain_write(out):
        _link(out / MODEL_NAME, state.model.path, out)
        if state.detector is not None:
            _link(out / DETECTOR_NAME, state.detector.path, out)
    replace_file(out / PAGE_NAME, page_of(state).encode("utf-8"))


def page_of(state: LoopState) -> str:
    """The loop's page; see `loop_page`."""
    rows = []
    stages: dict[str, int] = {}
    for each in state.rounds:
        for gathered in each.sets:
            for stage, count in gathered.masks.items():
                stages[stage] = stages.get(stage, 0) + count
        images = sum(s.images for s in each.sets)
        measured = each.measured
        proposals = next((s.proposals for s in each.sets if s.proposals is not None), None)
        timed = [s for s in each.sets if s.mask_seconds is not None]
        rows.append(
            RoundRow(
                name=each.name,
                progress=each.progress.value,
                own=None if measured is None else measured.own,
                low=None if measured is None else measured.own_low,
                high=None if measured is None else measured.own_high,
                oracle=None if measured is None else measured.oracle,
                promoted=each.promoted,
                images=images,
                masks=sum(s.num_masks for s in each.sets),
                masks_by_stage=dict(stages),
                precision=None if proposals is None else proposals["precision"],
                share_not_drawn=None if proposals is None else proposals["share_not_drawn"],
                mask_seconds=timed[0].mask_seconds if timed else None,
                seconds=each.seconds,
            )
        )
    page = LoopPage(
        title=state.config.name,
        start=None if state.start is None else state.start.own,
        rounds=tuple(rows),
        waiting=state.waiting,
    )
    return loop_page(page)


def _enter(registry: Registry, state: LoopState, held_out: Sequence[GatheredSet]) -> None:
    out = state.config.out
    known: dict[str, GatheredSet] = {}
    for each in state.rounds:
        for gathered in each.sets:
            known[gathered.name] = gathered
            registry.add_set(gathered.digest, {**_set_json(gathered, out), "round": each.name})
        digests = {known[name].digest: name for name in each.trained_on}
        if each.model is not None:
            measured = None if each.measured is None else asdict(each.measured)
            registry.add_model(
                each.model.sha256,
                {
                    "kind": "model",
                    "round": each.name,
                    "path": _inside(each.model.path, out),
                    "trained_on": digests,
                    "measured": measured,
                    "promoted": each.promoted,
                },
            )
        if each.detector is not None:
            plan = next(r.detector for r in state.config.rounds if r.name == each.name)
            names = list(known) if plan is None or plan.data is None else plan.data
            registry.add_model(
                each.detector.sha256,
                {
                    "kind": "detector",
                    "round": each.name,
                    "path": _inside(each.detector.path, out),
                    "trained_on": {known[name].digest: name for name in names},
                    "encoder_of": each.detector.model.sha256,
                    "recall": each.recall,
                    "promoted": each.detector_promoted,
                },
            )
    for gathered in held_out:
        registry.add_set(gathered.digest, {**_set_json(gathered, out), "held_out": True})
    if state.start is not None:
        registry.add_model(
            state.started_from.sha256,
            {
                "kind": "model",
                "round": START,
                "path": _inside(state.started_from.path, out),
                "measured": asdict(state.start),
            },
        )
    registry.rounds = [_round_json(each, out) for each in state.rounds]
    registry.promoted = {
        "model": state.model.sha256,
        "detector": None if state.detector is None else state.detector.sha256,
    }


def _round_json(state: RoundState, out: Path) -> dict[str, Any]:
    model, detector = state.model, state.detector
    return {
        "name": state.name,
        "progress": state.progress.value,
        "sets": {each.name: _set_json(each, out) for each in state.sets},
        "trained_on": list(state.trained_on),
        "model": None if model is None else model.sha256,
        "measured": None if state.measured is None else asdict(state.measured),
        "before": state.before,
        "promoted": state.promoted,
        "detector": None if detector is None else detector.sha256,
        "recall": state.recall,
        "detector_promoted": state.detector_promoted,
        "steps": list(state.steps),
        "seconds": state.seconds,
    }


def _set_json(gathered: GatheredSet, out: Path) -> dict[str, Any]:
    return {
        "name": gathered.name,
        "digest": gathered.digest,
        "path": _inside(gathered.path, out),
        "images": gathered.images,
        "masks": dict(gathered.masks),
        "model": gathered.model,
        "detector": gathered.detector,
        "proposals": None if gathered.proposals is None else dict(gathered.proposals),
        "mask_seconds": gathered.mask_seconds,
        "steps": list(gathered.steps),
    }


def _json(value: Any) -> Any:
    """A config's values as JSON."""
    if hasattr(value, "__dataclass_fields__"):
        return {name: _json(getattr(value, name)) for name in value.__dataclass_fields__}
    if isinstance(value, Mapping):
        return {str(key): _json(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_json(inner) for inner in value]
    if isinstance(value, Enum):
        return value.value
    return str(value) if isinstance(value, Path) else value


def _inside(path: Path, out: Path) -> str:
    """A path as text that holds when the loop's folder moves, if it leads inside."""
    resolved = path.resolve()
    if resolved.is_relative_to(out.resolve()):
        return resolved.relative_to(out.resolve()).as_posix()
    return str(resolved)


def _link(path: Path, target: Path, out: Path) -> None:
    """Let a symbolic link name what it should, whatever it named before."""
    text = _inside(target, out)
    if not text.startswith("/"):
        text = os.path.relpath(out.resolve() / text, path.parent.resolve())
    if path.is_symlink() and os.readlink(path) == text:  # noqa: PTH115 - text is compared
        return
    temporary = path.with_name(f".{path.name}.{os.getpid()}.link")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(text)
    temporary.replace(path)
