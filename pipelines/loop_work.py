"""How each step of a loop is made: sets gathered, models and detectors trained and measured."""

import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from sa_engine.dataset.manifest import is_dataset
from sa_engine.dataset.reader import Dataset
from sa_engine.dataset.records import ImageStatus
from sa_engine.dataset.stats import parquet_name
from sa_engine.detection.boxes import BoxFilter
from sa_engine.detection.file import load_detector, save_detector
from sa_engine.detection.finder import BoxFinder
from sa_engine.errors import SaEngineError, UsageError
from sa_engine.evaluation.boxes import PictureBoxes, box_scores, evaluate_boxes
from sa_engine.evaluation.calibration import calibrate
from sa_engine.evaluation.model_segmenter import ModelSegmenter
from sa_engine.evaluation.points import PointsConfig, Score, evaluate_points
from sa_engine.evaluation.results import write_rows
from sa_engine.evaluation.summary import summarise
from sa_engine.formats.detect import Format
from sa_engine.model.checkpoint import load_checkpoint, read_card, save_checkpoint
from sa_engine.model.device import choose_device, choose_precision
from sa_engine.model.predictor import Predictor
from sa_engine.pipelines.assisted_manual import ImportRun, run_import
from sa_engine.pipelines.exporting import ExportRun, run_export
from sa_engine.pipelines.fully_automatic import AutomaticRun, run_automatic
from sa_engine.pipelines.local import Progress, RunSummary, Workers
from sa_engine.pipelines.loop_annotator import write_answers
from sa_engine.pipelines.loop_config import (
    RANDOM,
    Gather,
    HeldOut,
    Kind,
    LoopConfig,
    People,
    Round,
    TrainPlan,
)
from sa_engine.pipelines.loop_steps import (
    Clock,
    Step,
    Steps,
    Work,
    content_digest,
    file_digest,
    listing,
    listing_digest,
    tree_digest,
)
from sa_engine.pipelines.retrain import TrainOptions, build_recipe, retrain
from sa_engine.pipelines.retrain_detector import (
    DetectorOptions,
    build_config,
    retrain_detector,
)
from sa_engine.pipelines.semi_automatic import SemiAutomaticRun, run_semi_automatic
from sa_engine.training.detector_session import flat_options
from sa_engine.training.session import recipe_options

MODEL_NAME = "model.safetensors"
DETECTOR_NAME = "detector.safetensors"
BOXES = 100
"""Boxes of an image that a detector is measured by."""


class WaitingForPeople(SaEngineError):  # noqa: N818 - a state, not a fault
    """The loop cannot go on until people have corrected proposals; the message says what to do."""

    exit_status = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A promptable model: the round that trained it, its file and the file's digest."""

    made_by: str
    path: Path
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Detector:
    """A box detector, and the model on whose image encoder it stands."""

    made_by: str
    path: Path
    sha256: str
    model: Model


@dataclass(frozen=True, slots=True, kw_only=True)
class GatheredSet:
    """A set of masks that is there.

    path: its dataset. digest: of its content. images: that went through. masks: by stage.
    model, detector: digests of what made or proposed its masks; None where people did.
    proposals: what people made of the proposals, without the images one by one.
    seconds: that the engine took. mask_seconds: that a mask took people, where their tool says it.
    steps: ids of the steps that made it.
    """

    name: str
    path: Path
    digest: str
    images: int
    masks: Mapping[str, int]
    model: str | None = None
    detector: str | None = None
    proposals: Mapping[str, Any] | None = None
    seconds: float = 0.0
    mask_seconds: float | None = None
    steps: tuple[str, ...] = ()

    @property
    def num_masks(self) -> int:
        """All masks."""
        return sum(self.masks.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A model on the held-out sets: mean IoU over sets, and its 95 % interval.

    own: of the mask that the model chooses. oracle: of the best of its masks.
    sets: own by set. rank: rank correlation of predicted and true IoU.
    """

    own: float
    own_low: float
    own_high: float
    oracle: float
    sets: Mapping[str, float] = field(default_factory=dict)
    rank: float | None = None


class Watcher:
    """Sees a loop go on. This one looks away; a command line shows what it sees."""

    def begin(self, label: str) -> None:
        """A step is looked up, and made if it is not there."""

    def images(self) -> Progress | None:
        """Somebody to watch the images of the step in hand."""
        return None

    def training(self, steps: int) -> Callable[[Any], None]:  # noqa: ARG002 - looks away
        """Somebody to hear the reports of a training of so many steps."""
        return lambda _: None

    def done(self, label: str, step: Step, *, made: bool) -> None:
        """The step is there; `made` if it was not before."""

    def say(self, text: str) -> None:
        """Something else that users want to know."""


class _Ticking:
    """Passes progress on and keeps a step's clock."""

    def __init__(self, clock: Clock, inner: Progress | None) -> None:
        self._clock, self._inner = clock, inner

    def begin(self, total: int, done: int) -> None:
        if self._inner is not None:
            self._inner.begin(total, done)

    def resume(self, done: int) -> None:
        if self._inner is not None:
            self._inner.resume(done)

    def image(self, done: Any) -> None:
        self._clock.tick()
        if self._inner is not None:
            self._inner.image(done)


class Workshop:
    """Makes the steps of a loop, or only looks which are there.

    perform: make what is missing; otherwise a missing step raises NotDone.
    """

    def __init__(self, config: LoopConfig, *, watcher: Watcher, perform: bool) -> None:
        self._config = config
        self._steps = Steps(config.out / "steps")
        self._watcher = watcher
        self._perform = perform
        self._workers = Workers(count=config.workers)

    def gather(
        self,
        part: Gather,
        *,
        label: str,
        model: Model | None = None,
        detector: Detector | None = None,
        existing: GatheredSet | None = None,
    ) -> GatheredSet:
        """Make a set, by whatever way the config says."""
        match part.kind:
            case Kind.DATASET:
                return self._dataset(part)
            case Kind.IMPORT:
                return self._import(part, label)
            case Kind.AUTO:
                assert model is not None
                return self._auto(part, label, model)
            case Kind.SEMI:
                assert detector is not None
                proposed = self._semi(part, label, detector, existing)
                if part.by is None:
                    return proposed
                return self._corrected(part, label, proposed)

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
        _check_masks(sets)
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
            name=f"{self._config.name}-{each.name}",
            device=self._config.device,
            data_workers=self._config.data_workers,
        )
        recipe = build_recipe(options)
        card = read_card(advice.path)
        thresholds = {
            name: getattr(card, name) if getattr(plan, name) is None else getattr(plan, name)
            for name in ("pred_iou_thresh", "stability_score_thresh")
        }
        inputs = {
            "sets": {each.name: each.digest for each in sets},
            "mix": options.weights,
            "init": None if options.init is None or init is None else init.sha256,
            "recipe": recipe_options(recipe),
            "name": options.name,
            "thresholds": thresholds,
        }

        def work(folder: Path, clock: Clock) -> Mapping[str, Any]:
            final = folder / MODEL_NAME
            if not final.exists():
                self._train(options, thresholds, sets, folder, clock)
            # What training goes on from is many times the model, and not needed any more.
            (folder / "trained.safetensors.run" / "state.pt").unlink(missing_ok=True)
            (folder / "trained.safetensors").unlink(missing_ok=True)
            return {"files": {MODEL_NAME: file_digest(final)}}

        step = self._step("train", inputs, work, label)
        sha256 = step.result["files"][MODEL_NAME]
        return Model(made_by=each.name, path=step.folder / MODEL_NAME, sha256=sha256), step

    def _train(
        self,
        options: TrainOptions,
        thresholds: Mapping[str, float],
        sets: Sequence[GatheredSet],
        folder: Path,
        clock: Clock,
    ) -> None:
        hear = self._watcher.training(build_recipe(options).train.steps)

        def report(made: Any) -> None:
            clock.tick()
            hear(made)

        raw = folder / "trained.safetensors"
        made = retrain(replace(options, out=raw), report=report)
        # The lines on data name digests that hold where the data lay; the figures of the last
        # steps are of the last run alone. The same training is to make the same file.
        names = {Dataset(each.path).digest(): each.digest for each in sets}
        lines = tuple(_renamed(line, names) for line in made.data)
        card = replace(
            made,
            data=lines,
            results={},
            pred_iou_thresh=thresholds["pred_iou_thresh"],
            stability_score_thresh=thresholds["stability_score_thresh"],
        )
        save_checkpoint(load_checkpoint(raw), folder / MODEL_NAME, card)

    def train_detector(
        self, each: Round, *, sets: Sequence[GatheredSet], model: Model, label: str
    ) -> tuple[Detector, Step]:
        """Train a detector on the image encoder of a model."""
        assert each.detector is not None
        _check_masks(sets)
        options = DetectorOptions(
            data=[each.path for each in sets],
            out=Path(),
            checkpoint=model.path,
            weights=_mix(each, sets),
            changes=each.detector.changes,
            name=f"{self._config.name}-{each.name}",
            device=self._config.device,
            data_workers=self._config.data_workers,
        )
        inputs = {
            "sets": {each.name: each.digest for each in sets},
            "mix": options.weights,
            "model": model.sha256,
            "options": flat_options(build_config(options)),
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

        step = self._step("detector", inputs, work, label)
        path, sha256 = step.folder / DETECTOR_NAME, step.result["files"][DETECTOR_NAME]
        return Detector(made_by=each.name, path=path, sha256=sha256, model=model), step

    def _train_detector(
        self,
        options: DetectorOptions,
        model: Model,
        sets: Sequence[GatheredSet],
        folder: Path,
        clock: Clock,
    ) -> None:
        hear = self._watcher.training(build_config(options).steps)

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

    def measure_detector(
        self, detector: Detector, sets: Sequence[GatheredSet], *, label: str
    ) -> tuple[float, Step]:
        """Average recall of a detector's first 100 boxes on the held-out sets, mean over sets."""
        max_images = self._config.held_out.max_images
        inputs = {
            "detector": detector.sha256,
            "model": detector.model.sha256,
            "sets": {each.name: each.digest for each in sets},
            "max-images": max_images,
            "precision": self._config.precision,
        }

        def work(_folder: Path, clock: Clock) -> Mapping[str, Any]:
            device = choose_device(self._config.device)
            sam = load_checkpoint(detector.model.path)
            finder = BoxFinder(
                sam,
                load_detector(detector.path, sam),
                device=device,
                precision=choose_precision(self._config.precision, device),
            )
            kept = BoxFilter(max_boxes=BOXES)

            def find(rgb_HW3: NDArray[np.uint8]) -> tuple[NDArray[Any], NDArray[Any]]:
                found = finder.find(finder.encode(rgb_HW3), kept)
                return found.boxes_xyxy_N4, found.scores_N

            pictures: list[PictureBoxes] = []
            for each in sets:
                dataset = Dataset(each.path)
                for made in evaluate_boxes(
                    dataset, each.name, methods={"detector": find}, max_images=max_images
                ):
                    pictures += made
                    clock.tick()
            found = [each for each in box_scores(pictures) if each.size == "all"]
            return {
                "boxes": {
                    "ar_100": round(fmean(each.ar_100 for each in found), 5),
                    "sets": {each.dataset: round(each.ar_100, 5) for each in found},
                }
            }

        step = self._step("boxes", inputs, work, label)
        return float(step.result["boxes"]["ar_100"]), step

    def measure(
        self, model: Model, sets: Sequence[GatheredSet], *, label: str
    ) -> tuple[Measured, Step]:
        """Play the point protocol on the held-out sets."""
        plan = self._config.held_out
        inputs = {
            "model": model.sha256,
            "sets": {each.name: each.digest for each in sets},
            "protocol": asdict(_points(plan)),
            "precision": self._config.precision,
        }

        def work(folder: Path, clock: Clock) -> Mapping[str, Any]:
            device = choose_device(self._config.device)
            sam = load_checkpoint(model.path, device)
            precision = choose_precision(self._config.precision, device)
            segmenter = ModelSegmenter(Predictor(sam, device, precision))
            scores: list[Score] = []
            for each in sets:
                dataset = Dataset(each.path)
                for made in evaluate_points(
                    dataset, each.name, segmenters=[segmenter], config=_points(plan)
                ):
                    scores += made
                    clock.tick()
            write_rows(folder / "scores.parquet", scores)
            return {"measured": asdict(_measured(scores))}

        step = self._step("measure", inputs, work, label)
        return Measured(**step.result["measured"]), step

    def _step(self, kind: str, inputs: Mapping[str, Any], work: Work, label: str) -> Step:
        if not self._perform:
            return self._steps.find(kind, inputs, label=label)
        self._watcher.begin(label)
        step, made = self._steps.make(kind, inputs, work, label=label)
        self._watcher.done(label, step, made=made)
        return step

    def _dataset(self, part: Gather) -> GatheredSet:
        assert part.data is not None
        dataset = Dataset(part.data)
        counts = count_masks(dataset)
        return GatheredSet(
            name=part.name,
            path=part.data,
            digest=content_digest(dataset),
            images=counts.images,
            masks=counts.masks,
            mask_seconds=counts.mask_seconds,
        )

    def _import(self, part: Gather, label: str) -> GatheredSet:
        assert part.annotations is not None
        annotations, images = part.annotations, part.images
        inputs = {
            "name": part.name,
            "annotations": tree_digest(annotations),
            "images": None if images is None else listing_digest(listing(images)),
            "format": None if part.format is None else part.format.value,
            "limit": part.limit,
        }

        def work(folder: Path, clock: Clock) -> Mapping[str, Any]:
            run = ImportRun(
                annotations=annotations,
                out=folder / part.name,
                images=None if images is None else _images_argument(images),
                format=part.format,
                limit=part.limit,
            )
            summary = run_import(run, progress=self._progress(clock))
            return _set_result(folder, part.name, summary.run)

        return _gathered(part.name, [self._step("import", inputs, work, label)])

    def _auto(self, part: Gather, label: str, model: Model) -> GatheredSet:
        assert part.images is not None
        images = part.images
        inputs = {
            "name": part.name,
            "images": listing_digest(listing(images)),
            "model": model.sha256,
            "preset": part.preset,
            "options": _json_options(part.options),
            "limit": part.limit,
            "precision": self._config.precision,
        }

        def work(folder: Path, clock: Clock) -> Mapping[str, Any]:
            run = AutomaticRun(
                images=_images_argument(images),
                out=folder / part.name,
                checkpoint=model.path,
                preset=part.preset,
                generator_options=part.options,
                device=self._config.device,
                precision=self._config.precision,
                limit=part.limit,
                workers=self._workers,
            )
            summary = run_automatic(run, progress=self._progress(clock))
            return _set_result(folder, part.name, summary)

        step = self._step("auto", inputs, work, label)
        return replace(_gathered(part.name, [step]), model=model.sha256)

    def _semi(
        self, part: Gather, label: str, detector: Detector, existing: GatheredSet | None
    ) -> GatheredSet:
        assert part.images is not None
        images = part.images
        inputs = {
            "name": part.name,
            "images": listing_digest(listing(images)),
            "model": detector.model.sha256,
            "detector": detector.sha256,
            "existing": None if existing is None else existing.digest,
            "options": _json_options(part.options),
            "limit": part.limit,
            "precision": self._config.precision,
        }

        def work(folder: Path, clock: Clock) -> Mapping[str, Any]:
            run = SemiAutomaticRun(
                images=_images_argument(images),
                out=folder / part.name,
                detector=detector.path,
                existing=None if existing is None else existing.path,
                checkpoint=detector.model.path,
                proposal_options=part.options,
                device=self._config.device,
                precision=self._config.precision,
                limit=part.limit,
                workers=self._workers,
            )
            summary = run_semi_automatic(run, progress=self._progress(clock))
            return _set_result(folder, part.name, summary)

        step = self._step("semi", inputs, work, label)
        made = _gathered(part.name, [step])
        return replace(made, model=detector.model.sha256, detector=detector.sha256)

    def _corrected(self, part: Gather, label: str, proposed: GatheredSet) -> GatheredSet:
        """The proposals after a person, or what stands for one, has looked at them."""
        by = part.by
        inputs: dict[str, Any] = {"name": part.name, "proposals": proposed.digest}
        steps = list(proposed.steps)
        if isinstance(by, People):
            export = self._export(part, by, proposed, label)
            steps.append(export.id)
            shown = export.folder / by.tool.value
            if not by.file.exists():
                raise WaitingForPeople(
                    f"{label}: correct {shown} in {by.tool.value}, put what comes out at {by.file} "
                    "and run the same command again"
                )
            inputs |= {"corrected": tree_digest(by.file), "tool": by.tool.value}
        elif by is not None:
            held_back = content_digest(Dataset(by.masks))
            inputs |= {"held-back": held_back, "accept-iou": by.accept_iou}

        def work(folder: Path, clock: Clock) -> Mapping[str, Any]:
            if isinstance(by, People):
                pictures = shown if by.tool.value == "labelme" else shown / "images"
                run = ImportRun(
                    annotations=by.file,
                    images=str(pictures),
                    out=folder / part.name,
                    format=Format(by.tool.value),
                    proposals=proposed.path,
                )
            else:
                assert by is not None
                answers = folder / "answers.json"
                write_answers(proposed.path, by.masks, answers, accept_iou=by.accept_iou)
                run = ImportRun(
                    annotations=answers,
                    images=_images_argument(str(proposed.path)),
                    out=folder / part.name,
                    format=Format.COCO,
                    proposals=proposed.path,
                )
            summary = run_import(run, progress=self._progress(clock))
            result = _set_result(folder, part.name, summary.run)
            said = dict((summary.report or {})["proposals"])
            del said["by_image"]
            return {**result, "proposals": said}

        step = self._step("correct", inputs, work, f"{label}, corrected")
        made = _gathered(part.name, [step])
        return replace(
            made,
            model=proposed.model,
            detector=proposed.detector,
            proposals=step.result["proposals"],
            mask_seconds=step.result["proposals"]["seconds_per_mask"],
            seconds=made.seconds + proposed.seconds,
            steps=(*steps, step.id),
        )

    def _export(self, part: Gather, by: People, proposed: GatheredSet, label: str) -> Step:
        """The proposals as a folder for people's tool."""
        inputs = {"name": part.name, "proposals": proposed.digest, "tool": by.tool.value}

        def work(folder: Path, _clock: Clock) -> Mapping[str, Any]:
            out = folder / by.tool.value
            if not out.exists():
                run_export(ExportRun(dataset=proposed.path, out=out, format=by.tool))
            return {"images": proposed.images}

        return self._step("export", inputs, work, f"{label}, for {by.tool.value}")

    def _progress(self, clock: Clock) -> Progress:
        return _Ticking(clock, self._watcher.images())


@dataclass(frozen=True, slots=True)
class Counts:
    """What a dataset holds.

    images: that went through. masks: by stage. mask_seconds: mean of the masks whose time is known.
    """

    images: int
    masks: dict[str, int]
    mask_seconds: float | None


def count_masks(dataset: Dataset) -> Counts:
    """Count a dataset's images and masks, column by column."""
    images = timed = 0
    seconds = 0.0
    masks: Counter[str] = Counter()
    names = ["stage", "time_spent_s"]
    columns = ["status", *(f"annotations.list.element.{name}" for name in names)]
    for index in dataset.shard_indices:
        with dataset.folder.open(parquet_name(index)) as file:
            table = pq.ParquetFile(file).read(columns=columns)
        images += pc.sum(pc.equal(table["status"], ImageStatus.OK.value)).as_py() or 0
        flat = pc.list_flatten(table["annotations"])
        for item in pc.value_counts(pc.struct_field(flat, "stage")).to_pylist():
            masks[item["values"]] += item["counts"]
        times = pc.struct_field(flat, "time_spent_s")
        timed += pc.count(times).as_py()
        seconds += pc.sum(times).as_py() or 0.0
    mean = round(seconds / timed, 3) if timed else None
    return Counts(images, dict(sorted(masks.items())), mean)


def check_leaks(sets: Sequence[GatheredSet], held_out: Sequence[GatheredSet]) -> None:
    """Raise UsageError if a picture is in a set to train on and in a held-out one, by content."""
    kept = {digest: each.name for each in held_out for digest in _digests(each)}
    for each in sets:
        common = [digest for digest in _digests(each) if digest in kept]
        if common:
            raise UsageError(
                f"{len(common)} images of the set {each.name!r} are held out, too, in "
                f"{kept[common[0]]!r}: nothing may be trained on what it is measured on; take them "
                "out of one of the two"
            )


def _digests(each: GatheredSet) -> list[str]:
    dataset = Dataset(each.path)
    columns = (dataset.columns(index, ["sha256"])["sha256"] for index in dataset.shard_indices)
    return [digest for column in columns for digest in column if digest]


def _set_result(folder: Path, name: str, summary: RunSummary) -> dict[str, Any]:
    """A set's result. UsageError if nothing came of it."""
    dataset = Dataset(folder / name)
    counts = count_masks(dataset)
    if not counts.images:
        reasons = ", ".join(f"{n} {reason}" for reason, n in summary.num_failed.items())
        raise UsageError(f"no image of the set {name!r} went through ({reasons}): mend the cause")
    return {
        "files": {name: content_digest(dataset)},
        "images": counts.images,
        "failed": sum(summary.num_failed.values()),
        "masks": counts.masks,
        "mask_seconds": counts.mask_seconds,
    }


def _gathered(name: str, steps: Sequence[Step]) -> GatheredSet:
    last = steps[-1]
    return GatheredSet(
        name=name,
        path=last.folder / name,
        digest=last.result["files"][name],
        images=last.result["images"],
        masks=last.result["masks"],
        mask_seconds=last.result["mask_seconds"],
        seconds=sum(step.seconds for step in steps),
        steps=tuple(step.id for step in steps),
    )


def _check_masks(sets: Sequence[GatheredSet]) -> None:
    if not sets:
        raise UsageError("there is nothing to train on: gather a set before, or name one in data")
    for each in sets:
        if not each.num_masks:
            raise UsageError(
                f"the set {each.name!r} holds no mask to train on: lower the thresholds that it is "
                "made with (pred_iou_thresh, stability_score_thresh), or leave it out of data"
            )


def _mix(each: Round, sets: Sequence[GatheredSet]) -> dict[str, float]:
    """The weights that name a stage, or a set that is trained on."""
    names = {s.name for s in sets} | {"manual", "semi-automatic", "automatic"}
    return {name: weight for name, weight in each.mix.items() if name in names}


def _points(plan: HeldOut) -> PointsConfig:
    return PointsConfig(
        counts=(plan.points,),
        max_images=plan.max_images,
        max_masks=plan.max_masks,
        seed=plan.seed,
    )


def _measured(scores: Sequence[Score]) -> Measured:
    rows = summarise(scores)
    last = rows[-1]
    return Measured(
        own=round(last.own.mean, 5),
        own_low=round(last.own.low, 5),
        own_high=round(last.own.high, 5),
        oracle=round(last.oracle.mean, 5),
        sets={row.dataset: round(row.own.mean, 5) for row in rows if row is not last}
        or {last.dataset: round(last.own.mean, 5)},
        rank=round(calibrate(scores).spearman, 4),
    )


def _images_argument(images: str) -> str:
    return f"{images}/sa_*.tar" if is_dataset(images) else images


def _json_options(options: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: str(value) if isinstance(value, str) else value for name, value in options.items()
    }


def _renamed(line: str, names: Mapping[str, str]) -> str:
    for old, new in names.items():
        line = line.replace(old, new)
    return line
