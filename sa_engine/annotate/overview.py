"""How far the work is, and how many seconds a mask takes: for the page and for `status`."""

from collections import defaultdict
from statistics import median
from typing import Any

from sa_engine.annotate.image_queue import ImageQueue
from sa_engine.formats.work.folding import ImageState, PeopleAnswers, active

_CURVE = 60
"""Points of the curve of seconds a mask."""


def mask_times(answers: PeopleAnswers) -> list[dict[str, Any]]:
    """Each drawn or edited mask that is there: {"n", "at", "by", "model", "seconds"}, in order."""
    found = [
        {
            "n": drawn.first,
            "at": drawn.last["at"],
            "by": drawn.last["by"],
            "model": drawn.last.get("model"),
            "seconds": round(sum(map(active, drawn.clock.values())), 2),
        }
        for work in answers.images.values()
        for drawn in work.live()
        if drawn.last is not None
    ]
    return sorted(found, key=lambda each: int(each["n"]))


def by_key(times: list[dict[str, Any]], key: str) -> list[dict[str, Any]]:
    """Masks and their median seconds by annotator or by model, in order of their first mask."""
    groups: dict[Any, list[float]] = defaultdict(list)
    for each in times:
        groups[each[key]].append(each["seconds"])
    return [
        {key: name, "masks": len(seconds), "median_s": round(median(seconds), 1)}
        for name, seconds in groups.items()
    ]


def curve(times: list[dict[str, Any]]) -> list[dict[str, float]]:
    """Median seconds a mask over the work so far, in at most 60 parts of equally many masks."""
    size = max(1, -(-len(times) // _CURVE))
    parts = [times[i : i + size] for i in range(0, len(times), size)]
    return [
        {"masks": part[-1]["n"], "median_s": round(median(each["seconds"] for each in part), 2)}
        for part in parts
    ]


def overview(queue: ImageQueue) -> dict[str, Any]:
    """What the overview shows."""
    answers = queue.ledger.answers
    times = mask_times(answers)
    holders = {lease.image_id: lease.annotator for lease in queue.assignments.present()}
    images = []
    for image_id in queue.order:
        work = answers.images.get(image_id)
        state = ImageState.OPEN if work is None else work.state
        images.append(
            {
                "id": image_id,
                "name": queue.name(image_id),
                "state": state.value,
                "masks": 0 if work is None else len(work.live()),
                "by": None if work is None else work.by,
                "reason": None if work is None else work.reason,
                "held_by": holders.get(image_id),
                "late": 0 if work is None else len(work.late),
            }
        )
    room = queue.room
    return {
        "counts": queue.counts(),
        "median_s": round(median(each["seconds"] for each in times), 1) if times else None,
        "present": sorted(set(holders.values())),
        "annotators": by_key(times, "by"),
        "models": by_key(times, "model"),
        "curve": curve(times),
        "images": images,
        "model_error": None if room is None else room.error,
    }


def status_line(queue: ImageQueue, *, now: float) -> str:
    """One line for the terminal: images, masks, seconds a mask, people."""
    counts = queue.counts()
    times = mask_times(queue.ledger.answers)
    handled = counts["total"] - counts["open"]
    text = f"{handled} of {counts['total']} images done, {counts['masks']} masks"
    if times:
        text += f", {median(each['seconds'] for each in times):.1f} s a mask (median"
        recent = [each["seconds"] for each in times if now - float(each["at"]) < 3600]
        text += f", last hour {median(recent):.1f})" if recent else ")"
    people = len({lease.annotator for lease in queue.assignments.present()})
    return f"{text}, {people} {'person' if people == 1 else 'people'} here"
