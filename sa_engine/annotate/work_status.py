"""How far a WORK is, told from its files: also while a server has it."""

from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from sa_engine.annotate.overview import by_key, mask_times
from sa_engine.dataset.folder.base import open_folder
from sa_engine.dataset.sources.frozen import FrozenInputs
from sa_engine.formats.work.folding import ImageState, fold
from sa_engine.formats.work.log import read_journal
from sa_engine.formats.work.settings import read_settings


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkStatus:
    """images, masks: counts; images by state. median_s: seconds of a mask, None of none.

    annotators, models: {"by" or "model", "masks", "median_s"} of each.
    damage: lines of the journal that cannot be believed.
    """

    mode: str
    out: str
    images: dict[str, int]
    total: int
    masks: int
    median_s: float | None
    annotators: list[dict[str, Any]]
    models: list[dict[str, Any]]
    damage: list[str]


def read_work_status(work: Path) -> WorkStatus:
    """The status of a WORK. UsageError if it is none."""
    settings = read_settings(work)
    history = read_journal(work)
    answers = fold(history.events)
    listed = len(FrozenInputs(open_folder(work)))
    total = listed if settings.sample is None else min(listed, settings.sample)
    states = [image.state for image in answers.images.values()]
    images = {state.value: states.count(state) for state in ImageState}
    images[ImageState.OPEN.value] = total - sum(images.values()) + images[ImageState.OPEN.value]
    times = mask_times(answers)
    seconds = [each["seconds"] for each in times]
    return WorkStatus(
        mode=settings.mode.value,
        out=settings.out,
        images=images,
        total=total,
        masks=sum(len(image.live()) for image in answers.images.values()),
        median_s=round(median(seconds), 1) if seconds else None,
        annotators=by_key(times, "by"),
        models=by_key(times, "model"),
        damage=[str(each) for each in history.damage],
    )
