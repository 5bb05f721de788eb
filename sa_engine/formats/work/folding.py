"""From events to what holds: the state of every image is a pure function of its events, in order.

Events that were written twice (a client that did not hear the answer sends again) count once, by
the id that the client gave them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from sa_engine.formats.work.log import JournalEvent


class EventKind(StrEnum):
    """What an event says."""

    OPENED = "opened"
    MASK = "mask"
    REMOVED = "removed"
    VERDICT = "verdict"
    STATE = "state"
    FAILED = "failed"
    MODEL = "model"
    LATE = "late"


class ImageState(StrEnum):
    """How far an image is. FAILED: its file cannot be read."""

    OPEN = "open"
    DONE = "done"
    SKIPPED = "skipped"
    FAILED = "failed"


class Decision(StrEnum):
    """What somebody said of a proposal."""

    KEPT = "kept"
    REJECTED = "rejected"
    EDITED = "edited"
    UNDECIDED = "undecided"


@dataclass(slots=True)
class Drawn:
    """One object's mask through its revisions.

    last: the event of the latest revision; None once it was removed.
    history: {"n", "by", "how"} of each revision.
    clock: intervals of all revisions by their ids.
    """

    id: str
    first: int
    revision: int
    last: JournalEvent | None
    history: list[dict[str, Any]] = field(default_factory=list)
    clock: dict[str, JournalEvent] = field(default_factory=dict)


@dataclass(slots=True)
class ImageWork:
    """What is known of one image.

    masks: by id, in the order of their first finish.
    verdicts: of proposals, the latest event by proposal.
    clocks: every interval of the image by id, and whose it is.
    opened: the first event of its opening; picked: why it was opened.
    answered: number of the event that ended it, None while it is open.
    """

    id: int
    state: ImageState = ImageState.OPEN
    reason: str | None = None
    masks: dict[str, Drawn] = field(default_factory=dict)
    verdicts: dict[int, JournalEvent] = field(default_factory=dict)
    clocks: dict[str, tuple[str, JournalEvent]] = field(default_factory=dict)
    models: dict[str, None] = field(default_factory=dict)
    picked: str | None = None
    removed: int = 0
    answered: int | None = None
    by: str | None = None
    late: list[JournalEvent] = field(default_factory=list)

    def live(self) -> list[Drawn]:
        """The masks that are there, in order."""
        return [drawn for drawn in self.masks.values() if drawn.last is not None]

    def verdict(self, proposal: int) -> Decision:
        """What was made of a proposal."""
        if any(_proposal(drawn) == proposal for drawn in self.live()):
            return Decision.EDITED
        event = self.verdicts.get(proposal)
        return Decision.UNDECIDED if event is None else Decision(event["verdict"])

    def seconds_by(self) -> dict[str, float]:
        """Active seconds (search and work) by annotator."""
        total: dict[str, float] = {}
        for by, interval in self.clocks.values():
            total[by] = total.get(by, 0.0) + active(interval)
        return {by: round(seconds, 3) for by, seconds in sorted(total.items())}


@dataclass(slots=True)
class PeopleAnswers:
    """All of a WORK's answers so far.

    images: by id, from the first event of each.
    seen: ids that clients gave their events. num_events: counts `n`.
    """

    images: dict[int, ImageWork] = field(default_factory=dict)
    models: list[JournalEvent] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)
    num_events: int = 0

    def image(self, image_id: int) -> ImageWork:
        """What is known of an image; nothing yet, if need be."""
        if image_id not in self.images:
            self.images[image_id] = ImageWork(image_id)
        return self.images[image_id]

    def add(self, event: JournalEvent) -> None:
        """Take up the next event. One that was seen before changes nothing."""
        self.num_events = max(self.num_events, int(event["n"]))
        own_id = event.get("id")
        if own_id is not None:
            if own_id in self.seen:
                return
            self.seen.add(own_id)
        kind = event["kind"]
        if kind == EventKind.MODEL:
            self.models.append(event)
        else:
            _APPLY[kind](self.image(int(event["image"])), event)


def fold(events: Iterable[JournalEvent]) -> PeopleAnswers:
    """What holds after the events."""
    work = PeopleAnswers()
    for event in events:
        work.add(event)
    return work


def active(interval: Mapping[str, Any]) -> float:
    """Seconds of an interval that count: searching and working."""
    return float(interval.get("search", 0.0)) + float(interval.get("work", 0.0))


def totals(clock: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """{"search", "work", "waited", "idle"} of intervals, seconds."""
    sums = dict.fromkeys(("search", "work", "waited", "idle"), 0.0)
    for interval in clock:
        for name in sums:
            sums[name] += float(interval.get(name, 0.0))
    return {name: round(seconds, 3) for name, seconds in sums.items()}


def _proposal(drawn: Drawn) -> int | None:
    return None if drawn.last is None else drawn.last.get("proposal")


def _clock(image: ImageWork, event: JournalEvent) -> None:
    for interval in event.get("clock") or ():
        image.clocks[interval["id"]] = (event["by"], interval)


def _opened(image: ImageWork, event: JournalEvent) -> None:
    image.picked = image.picked or event.get("picked")


def _mask(image: ImageWork, event: JournalEvent) -> None:
    _clock(image, event)
    number, revision = int(event["n"]), int(event["revision"])
    drawn = image.masks.get(event["mask"])
    if drawn is None:
        drawn = image.masks[event["mask"]] = Drawn(event["mask"], number, 0, None)
    if revision <= drawn.revision:
        return
    drawn.revision, drawn.last = revision, event
    drawn.history.append({"n": number, "by": event["by"], "how": event["how"]})
    for interval in event.get("clock") or ():
        drawn.clock[interval["id"]] = interval
    if event.get("model"):
        image.models[event["model"]] = None


def _removed(image: ImageWork, event: JournalEvent) -> None:
    _clock(image, event)
    drawn = image.masks.get(event["mask"])
    if drawn is None or int(event["revision"]) <= drawn.revision:
        return
    image.removed += drawn.last is not None
    drawn.revision, drawn.last = int(event["revision"]), None


def _verdict(image: ImageWork, event: JournalEvent) -> None:
    _clock(image, event)
    image.verdicts[int(event["proposal"])] = event


def _state(image: ImageWork, event: JournalEvent) -> None:
    _clock(image, event)
    said = event["state"]
    image.state = ImageState.OPEN if said == "reopened" else ImageState(said)
    image.reason = event.get("reason")
    image.by = event["by"]
    image.answered = None if image.state is ImageState.OPEN else int(event["n"])


def _failed(image: ImageWork, event: JournalEvent) -> None:
    image.state, image.reason, image.answered = ImageState.FAILED, event["reason"], int(event["n"])


def _late(image: ImageWork, event: JournalEvent) -> None:
    image.late.append(event)


_APPLY = {
    EventKind.OPENED: _opened,
    EventKind.MASK: _mask,
    EventKind.REMOVED: _removed,
    EventKind.VERDICT: _verdict,
    EventKind.STATE: _state,
    EventKind.FAILED: _failed,
    EventKind.LATE: _late,
}
