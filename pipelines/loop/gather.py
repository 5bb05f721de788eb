"""Gathering a set of masks: imported, proposed and corrected, or made by a model alone."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from sa_engine.dataset.manifest import is_dataset
from sa_engine.dataset.reader import Dataset
from sa_engine.errors import WaitingForPeople
from sa_engine.formats.registry import Format
from sa_engine.pipelines.export import ExportRun, run_export
from sa_engine.pipelines.loop.annotator import write_answers
from sa_engine.pipelines.loop.bench import Bench
from sa_engine.pipelines.loop.config import (
    Gather,
    InBrowser,
    Kind,
    People,
    Simulated,
)
from sa_engine.pipelines.loop.parts import (
    GatheredSet,
    LoopDetector,
    Model,
    count_masks,
    gathered_set,
    set_result,
)
from sa_engine.pipelines.loop.people import Browsers, corrected_set, said_of_proposals
from sa_engine.pipelines.loop.steps import (
    Clock,
    Step,
    content_digest,
    listing,
    listing_digest,
    tree_digest,
)
from sa_engine.pipelines.stages.automatic import AutomaticRun, run_automatic
from sa_engine.pipelines.stages.manual import ImportRun, run_import
from sa_engine.pipelines.stages.semi_automatic import SemiAutomaticRun, run_semi_automatic


class SetMaker:
    """Makes the sets of a loop at a bench."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._people = Browsers(bench)

    def gather(
        self,
        part: Gather,
        *,
        label: str,
        model: Model | None = None,
        detector: LoopDetector | None = None,
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
            case Kind.ANNOTATE:
                assert model is not None
                return self._people.gather(part, label=label, model=model)
            case Kind.SEMI:
                assert detector is not None
                proposed = self._semi(part, label, detector, existing)
                if part.by is None:
                    return proposed
                if isinstance(part.by, InBrowser):
                    return self._people.correct(
                        part.name, part.by, label=label, proposed=proposed, model=detector.model
                    )
                return self._corrected(part, part.by, label, proposed)

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
            "images": _pictures_digest(annotations, images),
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
            summary = run_import(run, progress=self._bench.progress(clock))
            return set_result(folder, part.name, summary.run)

        return gathered_set(part.name, [self._bench.step("import", inputs, work, label)])

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
            "precision": self._bench.config.precision,
        }

        def work(folder: Path, clock: Clock) -> Mapping[str, Any]:
            run = AutomaticRun(
                images=_images_argument(images),
                out=folder / part.name,
                checkpoint=model.path,
                preset=part.preset,
                generator_options=part.options,
                device=self._bench.config.device,
                precision=self._bench.config.precision,
                limit=part.limit,
                workers=self._bench.workers,
            )
            summary = run_automatic(run, progress=self._bench.progress(clock))
            return set_result(folder, part.name, summary)

        step = self._bench.step("auto", inputs, work, label)
        return replace(gathered_set(part.name, [step]), model=model.sha256)

    def _semi(
        self, part: Gather, label: str, detector: LoopDetector, existing: GatheredSet | None
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
            "precision": self._bench.config.precision,
        }

        def work(folder: Path, clock: Clock) -> Mapping[str, Any]:
            run = SemiAutomaticRun(
                images=_images_argument(images),
                out=folder / part.name,
                detector=detector.path,
                existing=None if existing is None else existing.path,
                checkpoint=detector.model.path,
                proposal_options=part.options,
                device=self._bench.config.device,
                precision=self._bench.config.precision,
                limit=part.limit,
                workers=self._bench.workers,
            )
            summary = run_semi_automatic(run, progress=self._bench.progress(clock))
            return set_result(folder, part.name, summary)

        step = self._bench.step("semi", inputs, work, label)
        made = gathered_set(part.name, [step])
        return replace(made, model=detector.model.sha256, detector=detector.sha256)

    def _corrected(
        self, part: Gather, by: People | Simulated, label: str, proposed: GatheredSet
    ) -> GatheredSet:
        """The proposals after a person, or what stands for one, has looked at them."""
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
        else:
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
                answers = folder / "answers.json"
                write_answers(proposed.path, by.masks, answers, accept_iou=by.accept_iou)
                run = ImportRun(
                    annotations=answers,
                    images=_images_argument(str(proposed.path)),
                    out=folder / part.name,
                    format=Format.COCO,
                    proposals=proposed.path,
                )
            summary = run_import(run, progress=self._bench.progress(clock))
            result = set_result(folder, part.name, summary.run)
            return {**result, "proposals": said_of_proposals(summary)}

        step = self._bench.step("correct", inputs, work, f"{label}, corrected")
        return corrected_set(part.name, step, proposed, steps)

    def _export(self, part: Gather, by: People, proposed: GatheredSet, label: str) -> Step:
        """The proposals as a folder for people's tool."""
        inputs = {"name": part.name, "proposals": proposed.digest, "tool": by.tool.value}

        def work(folder: Path, _clock: Clock) -> Mapping[str, Any]:
            out = folder / by.tool.value
            if not out.exists():
                run_export(ExportRun(dataset=proposed.path, out=out, format=by.tool))
            return {"images": proposed.images}

        return self._bench.step("export", inputs, work, f"{label}, for {by.tool.value}")


def _pictures_digest(annotations: Path, images: str | None) -> str | None:
    """A digest of the pictures to import; those beside a file where none are named."""
    beside = annotations.parent / "images"
    if images is None and not (annotations.is_file() and beside.is_dir()):
        # In a folder of annotations they are part of that folder's digest.
        return None
    return listing_digest(listing(str(beside) if images is None else images))


def _images_argument(images: str) -> str:
    return f"{images}/sa_*.tar" if is_dataset(images) else images


def _json_options(options: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: str(value) if isinstance(value, str) else value for name, value in options.items()
    }
