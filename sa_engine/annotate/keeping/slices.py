"""A part of people's answers, as a WORK of its own: what one round of a loop learns from."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sa_engine.annotate.keeping.work_folder import replace_file
from sa_engine.dataset.sources.frozen import INPUTS_NAME
from sa_engine.formats.work.folding import ImageState, PeopleAnswers
from sa_engine.formats.work.log import JOURNAL, START, JournalEvent, spell
from sa_engine.formats.work.settings import WORK_JSON


@dataclass(frozen=True, slots=True)
class Slice:
    """Images that were answered one after the other.

    first, last: numbers of events: answers after `first`, up to `last`. images: their ids.
    """

    first: int
    last: int
    images: tuple[int, ...]


def next_slice(events: Sequence[JournalEvent], *, first: int, take: int) -> Slice:
    """The next `take` images that are done, in order of answering; fewer if there are no more.

    It depends on events up to its last one alone, so that it stays what it is while people go on.
    An image that was answered twice counts at its last answer so far.
    """
    answers = PeopleAnswers()
    done: dict[int, int] = {}
    last = first
    for event in events:
        answers.add(event)
        image_id = event.get("image")
        if image_id is None or event["n"] <= first:
            continue
        work = answers.images[image_id]
        done.pop(image_id, None)
        if work.state is ImageState.DONE and (work.answered or 0) > first:
            done[image_id] = work.answered or 0
            last = int(event["n"])
        if len(done) == take:
            break
    return Slice(first, last, tuple(sorted(done, key=lambda each: done[each])))


def whole_slice(events: Sequence[JournalEvent], *, total: int) -> tuple[Slice, int]:
    """All images that are done by the time that each of `total` is done, skipped or unreadable.

    And how many of them are answered; fewer than `total` if some are open still. What comes after
    the last answer changes nothing.
    """
    answers = PeopleAnswers()
    answered: set[int] = set()
    last = 0
    for event in events:
        answers.add(event)
        image_id = event.get("image")
        if image_id is None:
            continue
        last = int(event["n"])
        if answers.images[image_id].state is ImageState.OPEN:
            answered.discard(image_id)
        else:
            answered.add(image_id)
        if len(answered) == total:
            break
    done = {i: answers.images[i].answered or 0 for i in answered if _is_done(answers, i)}
    return Slice(0, last, tuple(sorted(done, key=lambda each: done[each]))), len(answered)


def _is_done(answers: PeopleAnswers, image_id: int) -> bool:
    return answers.images[image_id].state is ImageState.DONE


def copy_slice(work: Path, part: Slice, events: Sequence[JournalEvent], target: Path) -> None:
    """Make a WORK of a slice's images: their events up to its end, and nothing of others."""
    (target / JOURNAL).mkdir(parents=True, exist_ok=True)
    chosen = set(part.images)
    lines, before = [], START
    for event in events:
        if event["n"] <= part.last and event.get("image") in chosen:
            line, before = spell(event, before)
            lines.append(line)
    replace_file(target / JOURNAL / "000001.log", b"".join(lines))
    for name in (INPUTS_NAME, WORK_JSON):
        replace_file(target / name, (work / name).read_bytes())
