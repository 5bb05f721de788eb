"""From a browser's JSON to what the journal keeps: every field is checked, others are dropped."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from sa_engine.annotate.models.clicks import Clicks
from sa_engine.annotate.models.frames import Rect
from sa_engine.errors import RefusedRequest
from sa_engine.formats.work.folding import active
from sa_engine.masks.rle import Rle, area, runs

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
MOST_POINTS = 1000
MOST_INTERVALS = 2000
_DAY_S = 86400.0

Body = Mapping[str, Any]
SizeHW = tuple[int, int]


def refuse(message: str) -> RefusedRequest:
    """The error for a request that says something impossible."""
    return RefusedRequest(400, "bad-request", message)


def uuid(body: Body, key: str) -> str:
    """An id that the client made."""
    value = body.get(key)
    if not isinstance(value, str) or not UUID.fullmatch(value):
        raise refuse(f"{key} must be a UUID")
    return value


def whole(body: Body, key: str, low: int, high: int) -> int:
    """A whole number from `low` to `high`."""
    value = body.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise refuse(f"{key} must be a whole number from {low} to {high}")
    return value


def number(value: object, what: str, low: float, high: float) -> float:
    """A finite number from `low` to `high`."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not low <= value <= high:
        raise refuse(f"{what} must be a number from {low:g} to {high:g}")
    return float(value)


def word(body: Body, key: str, allowed: Sequence[str]) -> str:
    """One of some words."""
    value = body.get(key)
    if value not in allowed:
        raise refuse(f"{key} must be one of {', '.join(allowed)}")
    return str(value)


def line(body: Body, key: str, most: int = 500) -> str | None:
    """A text, or none."""
    value = body.get(key)
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > most:
        raise refuse(f"{key} must be a text of at most {most} characters")
    return value


def mask_rle(body: Body, size_hw: SizeHW, *, min_area: int) -> Rle:
    """The mask of a request: sound, of the image's size, not empty."""
    given = body.get("rle")
    if not isinstance(given, dict) or not isinstance(given.get("counts"), str):
        raise refuse("rle must be COCO's compressed form")
    if given.get("size") != list(size_hw):
        raise refuse(f"the mask is of {given.get('size')}, the image of {list(size_hw)}")
    rle = Rle(size_hw, given["counts"])
    try:
        runs(rle)
    except ValueError as error:
        raise refuse(f"the mask is damaged: {error}") from error
    pixels = area(rle)
    if pixels < max(1, min_area):
        raise RefusedRequest(
            422, "too-small", f"the mask has {pixels} pixels, at least {max(1, min_area)} count"
        )
    return rle


def clock(body: Body) -> list[dict[str, Any]]:
    """Closed intervals of time: {"id", "search", "work", "waited", "idle"}, seconds."""
    given = body.get("clock", [])
    if not isinstance(given, list) or len(given) > MOST_INTERVALS:
        raise refuse(f"clock must be a list of at most {MOST_INTERVALS} intervals")
    found = []
    for each in given:
        if not isinstance(each, dict):
            raise refuse("an interval must be an object")
        seconds = {
            key: round(number(each.get(key, 0.0), key, 0.0, _DAY_S), 3)
            for key in ("search", "work", "waited", "idle")
        }
        found.append({"id": uuid(each, "id"), **seconds})
    return found


def cut(intervals: Sequence[dict[str, Any]], share: float) -> list[dict[str, Any]]:
    """Intervals with no more active seconds than can be true."""
    return [
        {
            **each,
            "search": round(each["search"] * share, 3),
            "work": round(each["work"] * share, 3),
        }
        for each in intervals
    ]


def claimed(intervals: Sequence[Body]) -> float:
    """The active seconds that intervals claim."""
    return sum(map(active, intervals))


def points(value: object, size_hw: SizeHW) -> list[tuple[float, float, int]]:
    """[[x, y, 1 or 0], …] inside the image, pixels."""
    if not isinstance(value, list) or len(value) > MOST_POINTS:
        raise refuse(f"points must be a list of at most {MOST_POINTS}")
    found = []
    for each in value:
        if not isinstance(each, list) or len(each) != 3 or each[2] not in (0, 1):
            raise refuse("a point is [x, y, 1 or 0]")
        x = number(each[0], "x", 0, size_hw[1])
        y = number(each[1], "y", 0, size_hw[0])
        found.append((x, y, int(each[2])))
    return found


def box(value: object, size_hw: SizeHW) -> tuple[float, float, float, float] | None:
    """[x0, y0, x1, y1] inside the image, pixels; or none."""
    if value is None:
        return None
    if not isinstance(value, list) or len(value) != 4:
        raise refuse("a box is [x0, y0, x1, y1]")
    height, width = size_hw
    x0, x1 = (number(each, "x", 0, width) for each in value[::2])
    y0, y1 = (number(each, "y", 0, height) for each in value[1::2])
    if x1 <= x0 or y1 <= y0:
        raise refuse("a box needs an area")
    return x0, y0, x1, y1


def rect(value: object, size_hw: SizeHW) -> Rect:
    """[x, y, width, height] of whole pixels inside the image."""
    if not isinstance(value, list) or len(value) != 4:
        raise refuse("a frame is [x, y, width, height]")
    x, y, w, h = (int(number(each, "frame", 0, 1 << 20)) for each in value)
    height, width = size_hw
    if w < 1 or h < 1 or x + w > width or y + h > height:
        raise refuse(f"the frame leaves the {width}x{height} image")
    return x, y, w, h


def clicks(body: Body, size_hw: SizeHW, base: Rle | None) -> Clicks:
    """A prompt. It must have a point or a box."""
    given = points(body.get("points", []), size_hw)
    around = box(body.get("box"), size_hw)
    if not given and around is None:
        raise refuse("a prompt needs a point or a box")
    previous = body.get("previous")
    return Clicks(
        points_xy=[(x, y) for x, y, _ in given],
        labels=[label for _, _, label in given],
        box_xyxy=around,
        previous=previous if isinstance(previous, str) else None,
        candidate=whole({"candidate": body.get("candidate") or 0}, "candidate", 0, 2),
        base=base,
        multimask=body.get("multimask") is True,
        preview=body.get("preview") is True,
    )


def mask_event(body: Body, size_hw: SizeHW, *, min_area: int) -> dict[str, Any]:
    """What the journal keeps of a finished mask."""
    rle = mask_rle(body, size_hw, min_area=min_area)
    prompts = body.get("prompts") or {}
    if not isinstance(prompts, dict):
        raise refuse("prompts must be an object")
    around = box(prompts.get("box"), size_hw)
    frame = body.get("frame")
    candidate = body.get("candidate")
    proposal = body.get("proposal")
    event: dict[str, Any] = {
        "revision": whole(body, "revision", 1, 1 << 20),
        "how": word(body, "how", ("drawn", "edited")),
        "proposal": None if proposal is None else whole(body, "proposal", 1, 1 << 60),
        "rle": rle.to_coco(),
        "prompts": {
            "points": [list(each) for each in points(prompts.get("points", []), size_hw)],
            "box": None if around is None else list(around),
        },
        "candidate": None if candidate is None else whole(body, "candidate", 0, 2),
        "frame": None if frame is None else list(rect(frame, size_hw)),
        "model": line(body, "model", 64),
        "clicks": _counts(body, "clicks", ("foreground", "background", "boxes", "undone")),
        "strokes": _counts(body, "strokes", ("count", "added_px", "erased_px")),
        "clock": clock(body),
    }
    return {key: value for key, value in event.items() if value is not None}


def _counts(body: Body, key: str, names: Sequence[str]) -> dict[str, int]:
    given = body.get(key) or {}
    if not isinstance(given, dict):
        raise refuse(f"{key} must be an object")
    return {name: whole({name: given.get(name, 0)}, name, 0, 1 << 40) for name in names}
