"""Sets that people make in a browser: a round takes the next images that are answered, or waits."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sa_engine.annotate.keeping.slices import Slice, copy_slice, next_slice
from sa_engine.annotate.keeping.work_folder import is_work, open_work
from sa_engine.dataset.folder.sealed import canonical
from sa_engine.dataset.sources.listing import list_sources
from sa_engine.errors import WaitingForPeople
from sa_engine.formats.registry import Format
from sa_engine.formats.work.log import JournalEvent, read_journal
from sa_engine.formats.work.settings import read_settings
from sa_engine.pipelines.annotating import plan_settings
from sa_engine.pipelines.loop.bench import Bench
from sa_engine.pipelines.loop.config import Gather
from sa_engine.pipelines.loop.parts import GatheredSet, Model, gathered_set, set_result
from sa_engine.pipelines.loop.steps import Clock
from sa_engine.pipelines.stages.manual import ImportRun, run_import


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
            raise WaitingForPeople(
                f"{label}: {len(slice_.images)} of {take} images are answered: run "
                f"`sa-engine annotate --work {part.work}`, then the same command again"
            )
        self._taken[work] = slice_.last
        return self._import(part, label, work, slice_, events)

    def _import(
        self, part: Gather, label: str, work: Path, slice_: Slice, events: list[JournalEvent]
    ) -> GatheredSet:
        chosen = [
            event
            for event in events
            if event["n"] <= slice_.last and event.get("image") in slice_.images
        ]
        said = canonical([read_settings(work).to_json(), chosen])
        inputs = {
            "name": part.name,
            "answers": hashlib.sha256(said.encode("ascii")).hexdigest(),
            "images": list(slice_.images),
        }

        def make(folder: Path, clock: Clock) -> Mapping[str, Any]:
            answers = folder / "answers.annotate"
            copy_slice(work, slice_, events, answers)
            settings = read_settings(answers)
            run = ImportRun(
                annotations=answers,
                out=folder / part.name,
                images=settings.images,
                format=Format.ANNOTATE,
                proposals=None if settings.proposals is None else settings.proposals[0],
            )
            summary = run_import(run, progress=self._bench.progress(clock))
            return set_result(folder, part.name, summary.run)

        return gathered_set(part.name, [self._bench.step("annotate", inputs, make, label)])


def _begin(part: Gather, work: Path, model: Model) -> None:
    assert part.images is not None
    settings = plan_settings(
        images=part.images,
        out=work.with_name(f"{work.name}.dataset"),
        checkpoint=model.path,
        limit=part.limit,
    )
    open_work(work, settings, list_sources(settings.images or "")[: part.limit])
