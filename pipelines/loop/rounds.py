"""The data engine's loop: gather masks, retrain, measure, keep what is better, and again.

Source: "Segment Anything", section 4. Rounds run in the order of the config. A round's model is
promoted if it beats the one promoted so far on held-out masks; otherwise it is kept and not used.
Every part of a round is a step (see `loop_steps`), so the same call continues a loop that was
killed, and a changed config makes anew only what depends on the change.
"""

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sa_engine.errors import NotDone, UsageError, WaitingForPeople
from sa_engine.pipelines.loop.bench import Bench, Watcher
from sa_engine.pipelines.loop.config import (
    PROMOTED,
    RANDOM,
    START,
    Gather,
    Kind,
    LoopConfig,
    Round,
)
from sa_engine.pipelines.loop.gather import SetMaker
from sa_engine.pipelines.loop.measure import BOXES, Judge
from sa_engine.pipelines.loop.parts import (
    GatheredSet,
    LoopDetector,
    Model,
    Scores,
    check_leaks,
)
from sa_engine.pipelines.loop.records import write_round, write_state
from sa_engine.pipelines.loop.references import check_references
from sa_engine.pipelines.loop.registry import read_registry
from sa_engine.pipelines.loop.state import LoopProgress, LoopState, RoundState
from sa_engine.pipelines.loop.steps import file_digest
from sa_engine.pipelines.loop.train import ModelMaker


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
    _refuse_foreign(config.out)
    _refuse_another_start(config)
    with _alone(config.out):
        walk = _Walk(config, watcher=watcher or Watcher(), perform=True)
        return walk.run()


def _refuse_foreign(out: Path) -> None:
    """UsageError unless a folder is empty or a loop's own."""
    held = {entry.name for entry in out.iterdir()}
    if held and not held & {"steps", ".lock"}:
        raise UsageError(
            f"{out} is not empty and not a loop's folder (it holds {min(held)!r}): "
            "choose a new or empty folder for --out"
        )


def _refuse_another_start(config: LoopConfig) -> None:
    """UsageError if the loop began with a bundled model that the engine has no longer.

    Without it all of the loop would be made again, from another model.
    """
    if config.checkpoint is not None:
        return
    models = read_registry(config.out).models
    began = {digest: each for digest, each in models.items() if each.get("round") == START}
    lost = {
        digest: Path(each["path"])
        for digest, each in began.items()
        if each.get("kind") == "model" and not (config.out / each["path"]).exists()
    }
    first = config.first_model
    if not lost or file_digest(first) in began:
        return
    digest, path = lost.popitem()
    raise UsageError(
        f"{config.out} began with the bundled model {path.stem} (sha256 {digest[:12]}), which this "
        f"engine has no longer; give that file as checkpoint, or another out to begin with "
        f"{first.stem}"
    )


def look_at_loop(config: LoopConfig) -> LoopState:
    """How far a loop is; makes and writes nothing."""
    return _Walk(config, watcher=Watcher(), perform=False).run()


@dataclass(slots=True)
class _Made:
    """What is there of the round in hand."""

    sets: list[GatheredSet] = field(default_factory=list)
    trained_on: tuple[str, ...] = ()
    model: Model | None = None
    measured: Scores | None = None
    before: float | None = None
    promoted: bool | None = None
    detector: LoopDetector | None = None
    recall: float | None = None
    detector_promoted: bool | None = None
    steps: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def state(self, name: str, progress: LoopProgress, **more: Any) -> RoundState:
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
        check_references(config)
        self._config = config
        self._watcher = watcher
        self._perform = perform
        bench = Bench(config, watcher=watcher, perform=perform)
        self._set_maker, self._model_maker = SetMaker(bench), ModelMaker(bench)
        self._judge = Judge(bench)
        path = config.first_model
        self._start = Model(made_by=START, path=path, sha256=file_digest(path))
        self._models: dict[str, Model] = {START: self._start}
        self._promoted = self._start
        self._best: Scores | None = None
        self._detectors: list[LoopDetector] = []
        first = config.first_detector
        if first is not None:
            self._detectors.append(
                LoopDetector(
                    made_by=START, path=first, sha256=file_digest(first), model=self._start
                )
            )
        self._detector = self._detectors[0] if self._detectors else None
        self._sets: dict[str, GatheredSet] = {}
        self._held_out: list[GatheredSet] = []

    def run(self) -> LoopState:
        states: list[RoundState] = []
        waiting = doing = start = None
        try:
            for part in self._config.held_out.sets:
                self._held_out.append(self._set_maker.gather(part, label=f"held-out {part.name}"))
            start, _ = self._judge.measure(self._start, self._held_out, label="start: measure")
            self._best = start
        except NotDone as missing:
            doing = missing.label
        for place, each in enumerate(self._config.rounds, start=1):
            if doing is not None or waiting is not None:
                states.append(RoundState(name=each.name, progress=LoopProgress.PENDING))
                continue
            made = _Made()
            try:
                self._round(each, made)
            except NotDone as missing:
                doing = missing.label
                begun = missing.seconds is not None or made.steps
                progress = LoopProgress.BEGUN if begun else LoopProgress.PENDING
                state = made.state(each.name, progress, doing=doing, doing_seconds=missing.seconds)
            except WaitingForPeople as stop:
                waiting = str(stop)
                state = made.state(each.name, LoopProgress.WAITING, doing=waiting)
            else:
                state = made.state(each.name, LoopProgress.DONE)
            states.append(state)
            if self._perform:
                write_round(self._config.out, place, each, state, self._held_out)
                write_state(self._state(states, start, waiting), self._held_out)
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
            detector, step = self._model_maker.train_detector(
                each,
                sets=sets,
                model=self._promoted,
                last=self._detector,
                label=f"{each.name}: train the detector",
            )
            made.detector = detector
            made.steps.append(step.id)
            made.seconds += step.seconds
            self._judge_detector(each, made, detector)

    def _judge_detector(self, each: Round, made: _Made, detector: LoopDetector) -> None:
        """A detector for another model than the last one's is needed; else the better one stays."""
        made.recall, step = self._judge.measure_detector(
            detector, self._held_out, label=f"{each.name}: measure the detector"
        )
        made.steps.append(step.id)
        made.seconds += step.seconds
        last = self._detector
        made.detector_promoted = True
        if last is not None and last.model.sha256 == detector.model.sha256:
            before, step = self._judge.measure_detector(
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
        return self._set_maker.gather(
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
        model, trained = self._model_maker.train(
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
        made.measured, step = self._judge.measure(
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
        self, states: Sequence[RoundState], start: Scores | None, waiting: str | None
    ) -> LoopState:
        known = {state.name for state in states}
        rest = [
            RoundState(name=each.name, progress=LoopProgress.PENDING)
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
