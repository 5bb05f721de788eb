"""Sets that people make in a browser: a round takes the next images that are answered, or waits."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sa_engine.annotate.keeping.slices import Slice, copy_slice, next_slice, whole_slice
from sa_engine.annotate.keeping.work_folder import is_work, open_work
from sa_engine.dataset.folder.base import open_folder
from sa_engine.dataset.folder.sealed import canonical
from sa_engine.dataset.reader import Dataset
from sa_engine.dataset.sources.frozen import FrozenInputs
from sa_engine.dataset.sources.listing import list_sources
from sa_engine.errors import UsageError, WaitingForPeople
from sa_engine.formats.registry import Format
from sa_engine.formats.work.log import JournalEvent, read_journal
from sa_engine.formats.work.settings import read_settings
from sa_engine.pipelines.annotating import plan_settings
from sa_engine.pipelines.loop.bench import Bench
from sa_engine.pipelines.loop.config import Gather, InBrowser
from sa_engine.pipelines.loop.parts import GatheredSet, Model, gathered_set, set_result
from sa_engine.pipelines.loop.steps import Clock, Step
from sa_engine.pipelines.stages.manual import ImportRun, ImportSummary, run_import


class Browsers:
    """Hands out the answers of each WORK, a slice after the other."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._taken: dict[Path, int] = {}

    def gather(self, part: Gather, *, label: str, model: Model) -> GatheredSet:
        """The set of a round. Raises WaitingForPeople while too few images are answered."""
        assert part.work is not None
        assert part.take is not None
        work, take = part.work.resolve(), part.take
        if not is_work(work):
            _begin(part, work, model)
        events = list(read_journal(work).believed())
        slice_ = next_slice(events, first=self._taken.get(work, 0), take=take)
        if len(slice_.images) < take:
            raise _waiting(label, len(slice_.images), take, part.work)
        self._taken[work] = slice_.last
        step = self._import_step(part.name, label, work, slice_, events)
        return gathered_set(part.name, [step])

    def correct(
        self, name: str, by: InBrowser, *, label: str, proposed: GatheredSet, model: Model
    ) -> GatheredSet:
        """The proposals after people have looked at them in a browser.

        Raises WaitingForPeople while too few images are answered, UsageError for a WORK that holds
        answers to other proposals.
        """
        work = by.work.resolve()
        if not is_work(work):
            _begin_correction(proposed, work, model)
        shown = read_settings(work).proposals
        if shown is None or shown[1] != Dataset(proposed.path).digest():
            raise UsageError(
                f"{label}: {by.work} holds answers to other proposals than those of this round "
                "(its model, its detector or its images were changed): give it another work"
            )
        total = len(FrozenInputs(open_folder(work)))
        wanted = by.take or total
        if wanted > total:
            raise UsageError(
                f"{label}: take is {wanted}, and there are {total} images with proposals: "
                "take that many, or leave it out"
            )
        events = list(read_journal(work).believed())
        if by.take is None:
            slice_, answered = whole_slice(events, total=total)
        else:
            slice_ = next_slice(events, first=0, take=by.take)
            answered = len(slice_.images)
        if answered < wanted:
            raise _waiting(label, answered, wanted, by.work)
        step = self._import_step(name, label, work, slice_, events)
        return corrected_set(name, step, proposed, proposed.steps)

    def _import_step(
        self, name: str, label: str, work: Path, slice_: Slice, events: list[JournalEvent]
    ) -> Step:
        chosen = [
            event
            for event in events
            if event["n"] <= slice_.last and event.get("image") in slice_.images
        ]
        said = canonical([read_settings(work).to_json(), chosen])
        inputs = {
            "name": name,
            "answers": hashlib.sha256(said.encode("ascii")).hexdigest(),
            "images": list(slice_.images),
        }

        def make(folder: Path, clock: Clock) -> Mapping[str, Any]:
            answers = folder / "answers.annotate"
            copy_slice(work, slice_, events, answers)
            settings = read_settings(answers)
            run = ImportRun(
                annotations=answers,
                out=folder / name,
                images=settings.images,
                format=Format.ANNOTATE,
                proposals=None if settings.proposals is None else settings.proposals[0],
            )
            summary = run_import(run, progress=self._bench.progress(clock))
            result = set_result(folder, name, summary.run)
            if settings.proposals is None:
                return result
            return {**result, "proposals": said_of_proposals(summary)}

        return self._bench.step("annotate", inputs, make, label)


def said_of_proposals(summary: ImportSummary) -> dict[str, Any]:
    """What people made of the proposals, without the images one by one."""
    said = dict((summary.report or {})["proposals"])
    del said["by_image"]
    return said


def corrected_set(
    name: str, step: Step, proposed: GatheredSet, before: Sequence[str]
) -> GatheredSet:
    """The set that a step has made of proposals. before: the steps that led to it."""
    made = gathered_set(name, [step])
    said = step.result["proposals"]
    return replace(
        made,
        model=proposed.model,
        detector=proposed.detector,
        proposals=said,
        mask_seconds=said["seconds_per_mask"],
        seconds=made.seconds + proposed.seconds,
        steps=(*before, step.id),
    )


def _waiting(label: str, answered: int, wanted: int, work: Path) -> WaitingForPeople:
    return WaitingForPeople(
        f"{label}: {answered} of {wanted} images are answered: run "
        f"`sa-engine annotate --work {work}`, then the same command again"
    )


def _begin_correction(proposed: GatheredSet, work: Path, model: Model) -> None:
    settings = plan_settings(
        # The images are the dataset's own: they are what its masks were made on.
        images=f"{proposed.path}/sa_*.tar",
        out=work.with_name(f"{work.name}.dataset"),
        proposals=proposed.path,
        checkpoint=model.path,
    )
    open_work(work, settings, list_sources(settings.images or ""))


def _begin(part: Gather, work: Path, model: Model) -> None:
    assert part.images is not None
    settings = plan_settings(
        images=part.images,
        out=work.with_name(f"{work.name}.dataset"),
        checkpoint=model.path,
        limit=part.limit,
    )
    open_work(work, settings, list_sources(settings.images or "")[: part.limit])
