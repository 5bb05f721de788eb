"""The data engine's loop: gather masks, retrain, measure, keep what is better, and again.

Source: "Segment Anything", section 4. Rounds run in the order of the config. A round's model is
promoted if it beats the one promoted so far on held-out masks; otherwise it is kept and not used.
Every part of a round is a step (see `loop_steps`), so the same call continues a loop that was
killed, and a changed config makes anew only what depends on the change.
"""

import fcntl
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from enum import Enum, StrEnum
from pathlib import Path
from typing import Any

from sa_engine.dataset.sealed import seal
from sa_engine.errors import UsageError
from sa_engine.pipelines.loop_config import (
    PROMOTED,
    RANDOM,
    START,
    Gather,
    Kind,
    LoopConfig,
    Round,
)
from sa_engine.pipelines.loop_steps import NotDone, file_digest, replace_file
from sa_engine.pipelines.loop_work import (
    BOXES,
    DETECTOR_NAME,
    MODEL_NAME,
    Detector,
    GatheredSet,
    Measured,
    Model,
    WaitingForPeople,
    Watcher,
    Workshop,
    check_leaks,
)
from sa_engine.pipelines.registry import Registry, read_registry
from sa_engine.report.loop_page import LoopPage, RoundRow, loop_page

ROUNDS = "rounds"
PAGE_NAME = "index.html"
ROUND_NAME = "round.json"


class Progress(StrEnum):
    """How far a round is."""

    DONE = "done"
    BEGUN = "begun"
    WAITING = "waiting for people"
    PENDING = "pending"


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundState:
    """What there is of a round.

    sets: gathered in it. trained_on: names of the sets that its model was trained on.
    model, measured: trained in it. before: mean IoU of the model promoted until then.
    promoted: whether its model was; None if it trained none.
    detector: trained in it. recall: its AR@100 on the held-out sets. detector_promoted: whether it
        is in force from then on.
    doing: the step that is missing, with the seconds spent on it so far.
    steps: ids of its steps, in order. seconds: that they took.
    """

    name: str
    progress: Progress
    sets: tuple[GatheredSet, ...] = ()
    trained_on: tuple[str, ...] = ()
    model: Model | None = None
    measured: Measured | None = None
    before: float | None = None
    promoted: bool | None = None
    detector: Detector | None = None
    recall: float | None = None
    detector_promoted: bool | None = None
    doing: str | None = None
    doing_seconds: float | None = None
    steps: tuple[str, ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopState:
    """What there is of a loop.

    started_from: the model that it begins with. start: how that measures; None if that is not
        known yet.
    model, detector: in force now.
    waiting: what people have to do before it can go on.
    """

    config: LoopConfig
    rounds: tuple[RoundState, ...]
    started_from: Model
    model: Model
    start: Measured | None = None
    detector: Detector | None = None
    waiting: str | None = None
    doing: str | None = None

    @property
    def is_done(self) -> bool:
        """Whether every round is done."""
        return all(each.progress is Progress.DONE for each in self.rounds)


def run_loop(config: LoopConfig, *, watcher: Watcher | None = None) -> LoopState:
    """Run a loop to its end, or to where it waits for people; goes on where it was stopped.

    Writes `rounds/<n>-<name>/` (round.json and links to what it made), `registry.json`,
    `index.html`, and links to the model and the detector in force.

    Raises UsageError for what cannot work or if another process runs this loop, and whatever the
    steps raise; all that was done is kept.
    """
    try:
        config.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot make {config.out}: {error.strerror}: give another out") from error
    with _alone(config.out):
        walk = _Walk(config, watcher=watcher or Watcher(), perform=True)
        return walk.run()


def look_at_loop(config: LoopConfig) -> LoopState:
    """How far a loop is; makes and writes nothing."""
    return _Walk(config, watcher=Watcher(), perform=False).run()


@dataclass(slots=True)
class _Made:
    """What is there of the round in hand."""

    sets: list[GatheredSet] = field(default_factory=list)
    trained_on: tuple[str, ...] = ()
    model: Model | None = None
    measured: Measured | None = None
    before: float | None = None
    promoted: bool | None = None
    detector: Detector | None = None
    recall: float | None = None
    detector_promoted: bool | None = None
    steps: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def state(self, name: str, progress: Progress, **more: Any) -> RoundState:
        return RoundState(
            name=name,
            progress=progress,
            sets=tuple(self.sets),
            trained_on=self.trained_on,
            model=self.model,
            measured=self.measured,
            before=self.before,
            promoted=self.promoted,
            detector=self.detector,
            recall=self.recall,
            detector_promoted=self.detector_promoted,
            steps=tuple(self.steps),
            seconds=round(self.seconds, 3),
            **more,
        )


class _Walk:
    """Goes through the rounds, carrying along what is in force."""

    def __init__(self, config: LoopConfig, *, watcher: Watcher, perform: bool) -> None:
        self._config = config
        self._watcher = watcher
        self._perform = perform
        self._shop = Workshop(config, watcher=watcher, perform=perform)
        path = config.first_model
        self._start = Model(made_by=START, path=path, sha256=file_digest(path))
        self._models: dict[str, Model] = {START: self._start}
        self._promoted = self._start
        self._best: Measured | None = None
        self._detectors: list[Detector] = []
        first = config.first_detector
        if first is not None:
            self._detectors.append(
                Detector(made_by=START, path=first, sha256=file_digest(first), model=self._start)
            )
        self._detector = self._detectors[0] if self._detectors else None
        self._sets: dict[str, GatheredSet] = {}
        self._held_out: list[GatheredSet] = []

    def run(self) -> LoopState:
        states: list[RoundState] = []
        waiting = doing = start = None
        try:
            for part in self._config.held_out.sets:
                self._held_out.append(self._shop.gather(part, label=f"held-out {part.name}"))
            start, _ = self._shop.measure(self._start, self._held_out, label="start: measure")
            self._best = start
        except NotDone as missing:
            doing = missing.label
        for place, each in enumerate(self._config.rounds, start=1):
            if doing is not None or waiting is not None:
                states.append(RoundState(name=each.name, progress=Progress.PENDING))
                continue
            made = _Made()
            try:
                self._round(each, made)
            except NotDone as missing:
                doing = missing.label
                begun = missing.seconds is not None or made.steps
                progress = Progress.BEGUN if begun else Progress.PENDING
                state = made.state(each.name, progress, doing=doing, doing_seconds=missing.seconds)
            except WaitingForPeople as stop:
                waiting = str(stop)
                state = made.state(each.name, Progress.WAITING, doing=waiting)
            else:
                state = made.state(each.name, Progress.DONE)
            states.append(state)
            if self._perform:
                self._write(place, each, state)
                self._finish(states, start, waiting)
        return replace(self._state(states, start, waiting), doing=doing)

    def _round(self, each: Round, made: _Made) -> None:
        for part in each.gather:
            gathered = self._gather(each, part)
            self._sets[part.name] = gathered
            made.sets.append(gathered)
            made.steps += gathered.steps
            made.seconds += gathered.seconds
        if each.train is not None:
            self._train(each, made)
        if each.detector is not None:
            sets = self._chosen(each.detector.data)
            detector, step = self._shop.train_detector(
                each, sets=sets, model=self._promoted, label=f"{each.name}: train the detector"
            )
            made.detector = detector
            made.steps.append(step.id)
            made.seconds += step.seconds
            self._judge_detector(each, made, detector)

    def _judge_detector(self, each: Round, made: _Made, detector: Detector) -> None:
        """A detector for another model than the last one's is needed; else the better one stays."""
        made.recall, step = self._shop.measure_detector(
            detector, self._held_out, label=f"{each.name}: measure the detector"
        )
        made.steps.append(step.id)
        made.seconds += step.seconds
        last = self._detector
        made.detector_promoted = True
        if last is not None and last.model.sha256 == detector.model.sha256:
            before, step = self._shop.measure_detector(
                last, self._held_out, label=f"{each.name}: measure the last detector"
            )
            made.detector_promoted = made.recall >= before
        if made.detector_promoted:
            self._detector = detector
            self._detectors.append(detector)
        if self._perform:
            verdict = "in force" if made.detector_promoted else "kept, not in force"
            self._watcher.say(f"{each.name}: detector's AR@{BOXES} {made.recall:.4f}: {verdict}")

    def _gather(self, each: Round, part: Gather) -> GatheredSet:
        model, detector = self._promoted, self._detector
        if part.model != PROMOTED:
            model = self._models[part.model]
            detector = next(
                (d for d in reversed(self._detectors) if d.model.sha256 == model.sha256), None
            )
        if part.kind is Kind.SEMI and detector is None:
            raise UsageError(
                f"round {each.name!r}: no detector stands on the model of {part.model!r}: train "
                "one in that round ([round.detector]), or take another model"
            )
        return self._shop.gather(
            part,
            label=f"{each.name}: gather {part.name}",
            model=model,
            detector=detector,
            existing=None if part.existing is None else self._sets[part.existing],
        )

    def _train(self, each: Round, made: _Made) -> None:
        plan = each.train
        assert plan is not None
        assert self._best is not None
        sets = self._chosen(plan.data)
        if self._perform:
            check_leaks(sets, self._held_out)
        init = None if plan.init == RANDOM else self._model(plan.init)
        model, trained = self._shop.train(
            each,
            plan,
            sets=sets,
            init=init,
            advice=init or self._promoted,
            label=f"{each.name}: train",
        )
        self._models[each.name] = model
        made.trained_on = tuple(s.name for s in sets)
        made.model = model
        made.steps.append(trained.id)
        made.seconds += trained.seconds
        made.measured, step = self._shop.measure(
            model, self._held_out, label=f"{each.name}: measure"
        )
        made.steps.append(step.id)
        made.seconds += step.seconds
        made.before = self._best.own
        made.promoted = made.measured.own > self._best.own + each.min_gain
        if made.promoted:
            self._promoted, self._best = model, made.measured
        if self._perform:
            verdict = "promoted" if made.promoted else "kept, not promoted"
            self._watcher.say(
                f"{each.name}: mean IoU {made.measured.own:.4f}, before {made.before:.4f}: "
                f"{verdict}"
            )

    def _model(self, name: str) -> Model:
        return self._promoted if name == PROMOTED else self._models[name]

    def _chosen(self, names: Sequence[str] | None) -> list[GatheredSet]:
        chosen = list(self._sets) if names is None else names
        return [self._sets[name] for name in chosen]

    def _state(
        self, states: Sequence[RoundState], start: Measured | None, waiting: str | None
    ) -> LoopState:
        known = {state.name for state in states}
        rest = [
            RoundState(name=each.name, progress=Progress.PENDING)
            for each in self._config.rounds
            if each.name not in known
        ]
        return LoopState(
            config=self._config,
            rounds=(*states, *rest),
            started_from=self._start,
            model=self._promoted,
            start=start,
            detector=self._detector,
            waiting=waiting,
        )

    def _write(self, place: int, each: Round, state: RoundState) -> None:
        """The round's folder."""
        out = self._config.out
        folder = out / ROUNDS / f"{place:02d}-{each.name}"
        folder.mkdir(parents=True, exist_ok=True)
        for gathered in state.sets:
            _link(folder / gathered.name, gathered.path, out)
        if state.model is not None:
            _link(folder / MODEL_NAME, state.model.path, out)
        if state.detector is not None:
            _link(folder / DETECTOR_NAME, state.detector.path, out)
        held_out = {s.name: s.digest for s in self._held_out}
        content = {**_round_json(state, out), "config": _json(each), "held_out": held_out}
        replace_file(folder / ROUND_NAME, seal(content))

    def _finish(
        self, states: Sequence[RoundState], start: Measured | None, waiting: str | None
    ) -> None:
        """Registry, page, and what is in force."""
        out = self._config.out
        state = self._state(states, start, waiting)
        registry = read_registry(out)
        _enter(registry, state, self._held_out)
        registry.save(out)
        _link(out / MODEL_NAME, self._promoted.path, out)
        if self._detector is not None:
            _link(out / DETECTOR_NAME, self._detector.path, out)
        replace_file(out / PAGE_NAME, write_page(state).encode("utf-8"))


def write_page(state: LoopState) -> str:
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


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Be the only process that runs this loop. UsageError if another one does."""
    descriptor = os.open(out / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UsageError(
                f"another process is running the loop in {out}: wait for it, or stop it"
            ) from error
        except OSError:
            # A file system without locks: nobody can be kept out.
            pass
        yield
    finally:
        os.close(descriptor)
