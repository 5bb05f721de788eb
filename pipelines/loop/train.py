"""Training the promptable model and the detector of a round."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sa_engine.dataset.reader import Dataset
from sa_engine.dataset.records import Stage
from sa_engine.detection.file import (
    load_detector,
    net_options,
    read_detector_card,
    save_detector,
)
from sa_engine.model.checkpoint import load_checkpoint, read_card, save_checkpoint
from sa_engine.model.sam import Sam
from sa_engine.pipelines.loop.bench import Bench
from sa_engine.pipelines.loop.config import RANDOM, DetectorPlan, Round, TrainPlan
from sa_engine.pipelines.loop.parts import (
    DETECTOR_NAME,
    MODEL_NAME,
    GatheredSet,
    LoopDetector,
    Model,
    check_masks,
)
from sa_engine.pipelines.loop.steps import (
    Clock,
    Step,
    file_digest,
)
from sa_engine.pipelines.loop.thresholds import find_thresholds
from sa_engine.pipelines.train import TrainOptions, build_recipe, retrain
from sa_engine.pipelines.train_detector import (
    DetectorOptions,
    build_config,
    retrain_detector,
)
from sa_engine.training.options import flat_options
from sa_engine.training.sam.session import recipe_options

THRESHOLDS = ("pred_iou_thresh", "stability_score_thresh")


@dataclass(frozen=True, slots=True)
class _Calibration:
    """How a new model's thresholds are found: on how many pictures of which sets.

    given: thresholds that stay as they are, where they are not None.
    """

    sets: Sequence[Path]
    images: int
    given: Mapping[str, float | None]

    def find(self, sam: Sam, device: str, precision: str) -> dict[str, float]:
        """The thresholds that are not given; none if nothing speaks for any."""
        if not self.sets:
            return {}
        best = find_thresholds(
            sam, self.sets, images=self.images, device=device, precision=precision
        )
        if best is None:
            return {}
        return {name: getattr(best, name) for name, value in self.given.items() if value is None}


class ModelMaker:
    """Trains the models of a loop at a bench."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench

    def train(
        self,
        each: Round,
        plan: TrainPlan,
        *,
        sets: Sequence[GatheredSet],
        init: Model | None,
        advice: Model,
        label: str,
    ) -> tuple[Model, Step]:
        """Train the promptable model.

        init: what it starts from; None for random weights. advice: the model whose card's
            thresholds the new card takes over where the plan has none.
        """
        check_masks(sets)
        options = TrainOptions(
            data=[each.path for each in sets],
            out=Path(),
            weights=_mix(each, sets),
            init=None if plan.init == RANDOM or init is None else init.path,
            recipe=plan.recipe,
            changes=plan.changes,
            synthetic=plan.synthetic,
            scenes=plan.scenes,
            mask_area_power=plan.mask_area_power,
            name=f"{self._bench.config.name}-{each.name}",
            device=self._bench.config.device,
            data_workers=self._bench.config.data_workers,
        )
        recipe = build_recipe(options)
        card = read_card(advice.path)
        given = {name: getattr(plan, name) for name in THRESHOLDS}
        thresholds: dict[str, float] = {
            name: getattr(card, name) if value is None else value for name, value in given.items()
        }
        # Only masks of people tell which of a model's are right.
        people = [s.path for s in sets if s.num_masks and "automatic" not in s.masks]
        if None not in given.values():
            people = []
        inputs = {
            "sets": {each.name: each.digest for each in sets},
            "mix": options.weights,
            "init": None if options.init is None or init is None else init.sha256,
            "recipe": recipe_options(recipe),
            "name": options.name,
            "thresholds": thresholds,
            "calibrate": len(people) and plan.calibrate,
        }

        def work(folder: Path, clock: Clock) -> Mapping[str, Any]:
            final = folder / MODEL_NAME
            if not final.exists():
                found = _Calibration(people if plan.calibrate else [], plan.calibrate, given)
                self._train(options, thresholds, found, sets, folder, clock)
            # What training goes on from is many times the model, and not needed any more.
            (folder / "trained.safetensors.run" / "state.pt").unlink(missing_ok=True)
            (folder / "trained.safetensors").unlink(missing_ok=True)
            return {"files": {MODEL_NAME: file_digest(final)}}

        step = self._bench.step("train", inputs, work, label)
        sha256 = step.result["files"][MODEL_NAME]
        return Model(made_by=each.name, path=step.folder / MODEL_NAME, sha256=sha256), step

    def _train(
        self,
        options: TrainOptions,
        thresholds: Mapping[str, float],
        calibration: "_Calibration",
        sets: Sequence[GatheredSet],
        folder: Path,
        clock: Clock,
    ) -> None:
        hear = self._bench.watcher.training(build_recipe(options).train.steps)

        def report(made: Any) -> None:
            clock.tick()
            hear(made)

        raw = folder / "trained.safetensors"
        made = retrain(replace(options, out=raw), report=report)
        # The lines on data name digests that hold where the data lay; the figures of the last
        # steps are of the last run alone. The same training is to make the same file.
        names = {Dataset(each.path).digest(): each.digest for each in sets}
        lines = tuple(_renamed(line, names) for line in made.data)
        sam = load_checkpoint(raw)
        found = calibration.find(sam, self._bench.config.device, self._bench.config.precision)
        clock.tick()
        known = {**thresholds, **found}
        card = replace(
            made,
            data=lines,
            results={},
            pred_iou_thresh=known["pred_iou_thresh"],
            stability_score_thresh=known["stability_score_thresh"],
        )
        save_checkpoint(load_checkpoint(raw), folder / MODEL_NAME, card)

    def train_detector(
        self,
        each: Round,
        *,
        sets: Sequence[GatheredSet],
        model: Model,
        last: LoopDetector | None,
        label: str,
    ) -> tuple[LoopDetector, Step]:
        """Train a detector on the image encoder of a model.

        last: the detector in force, which it starts from if the two are of one network.
        """
        assert each.detector is not None
        check_masks(sets)
        fits = last is not None and _is_same_network(last, each.detector, model)
        init = last if fits and each.detector.init != RANDOM else None
        options = DetectorOptions(
            data=[each.path for each in sets],
            out=Path(),
            checkpoint=model.path,
            weights=_mix(each, sets),
            changes=each.detector.changes,
            init=None if init is None else init.path,
            name=f"{self._bench.config.name}-{each.name}",
            device=self._bench.config.device,
            data_workers=self._bench.config.data_workers,
        )
        inputs = {
            "sets": {each.name: each.digest for each in sets},
            "mix": options.weights,
            "model": model.sha256,
            "options": flat_options(build_config(options)),
            "init": None if init is None else init.sha256,
            "name": options.name,
        }

        def work(folder: Path, clock: Clock) -> Mapping[str, Any]:
            final = folder / DETECTOR_NAME
            if not final.exists():
                self._train_detector(options, model, sets, folder, clock)
            # Kept maps are many times the detector, and not needed any more.
            shutil.rmtree(folder / "trained.safetensors.run", ignore_errors=True)
            (folder / "trained.safetensors").unlink(missing_ok=True)
            return {"files": {DETECTOR_NAME: file_digest(final)}}

        step = self._bench.step("detector", inputs, work, label)
        path, sha256 = step.folder / DETECTOR_NAME, step.result["files"][DETECTOR_NAME]
        return LoopDetector(made_by=each.name, path=path, sha256=sha256, model=model), step

    def _train_detector(
        self,
        options: DetectorOptions,
        model: Model,
        sets: Sequence[GatheredSet],
        folder: Path,
        clock: Clock,
    ) -> None:
        hear = self._bench.watcher.training(build_config(options).steps)

        def report(made: Any) -> None:
            clock.tick()
            hear(made)

        raw = folder / "trained.safetensors"
        made = retrain_detector(replace(options, out=raw), report=report)
        # As in `_train`: the same training is to make the same file.
        names = {Dataset(each.path).digest(): each.digest for each in sets}
        lines = tuple(_renamed(line, names) for line in made.data)
        detector = load_detector(raw, load_checkpoint(model.path))
        save_detector(detector, folder / DETECTOR_NAME, replace(made, data=lines, results={}))


def _is_same_network(last: LoopDetector, plan: DetectorPlan, model: Model) -> bool:
    """Whether training can go on from a detector: the same network on an encoder of one shape."""
    card, wanted = read_detector_card(last.path), read_card(model.path)
    net = build_config(DetectorOptions(data=(), out=Path(), changes=plan.changes)).net
    shape = (card.variant, card.image_size)
    return shape == (wanted.variant, wanted.image_size) and card.net == net_options(net)


def _mix(each: Round, sets: Sequence[GatheredSet]) -> dict[str, float]:
    """The weights that name a stage, or a set that is trained on, as training knows it."""
    # A dataset that was there before keeps its folder, whatever the loop calls it.
    names = {s.name: s.path.resolve().name for s in sets}
    names |= {stage.value: stage.value for stage in Stage}
    return {names[name]: weight for name, weight in each.mix.items() if name in names}


def _renamed(line: str, names: Mapping[str, str]) -> str:
    for old, new in names.items():
        line = line.replace(old, new)
    return line
