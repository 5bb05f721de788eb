"""Requests that say something impossible are refused by name; others are kept field by field."""

import math
import uuid
from typing import Any

import numpy as np
import pytest

from sa_engine.annotate import bodies
from sa_engine.errors import RefusedRequest
from sa_engine.masks.rle import encode
from tests.support.served import mask_body

SIZE = (6, 8)
MASK = np.zeros(SIZE, bool)
MASK[1:3, 2:5] = True


def body(**changed: Any) -> dict[str, Any]:
    return mask_body(MASK, **changed)


def test_a_sound_mask() -> None:
    said = body(prompts={"points": [[2.5, 1.5, 1]], "box": [0, 0, 8, 6]}, candidate=1, strange="x")
    event = bodies.mask_event(said, SIZE, min_area=0)
    assert event["rle"] == encode(MASK).to_coco()
    assert event["prompts"] == {"points": [[2.5, 1.5, 1]], "box": [0.0, 0.0, 8.0, 6.0]}
    assert "strange" not in event


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"rle": None}, "compressed form"),
        ({"rle": {"size": [6, 8], "counts": 5}}, "compressed form"),
        ({"rle": encode(np.ones((9, 9), bool)).to_coco()}, r"of \[9, 9\], the image of \[6, 8\]"),
        ({"rle": {"size": [6, 8], "counts": "~~~~"}}, "damaged"),
        ({"rle": {"size": [6, 8], "counts": "0" * 9}}, "damaged"),
        ({"rle": encode(np.zeros(SIZE, bool)).to_coco()}, "0 pixels"),
        ({"revision": 0}, "revision"),
        ({"revision": True}, "revision"),
        ({"how": "guessed"}, "one of drawn, edited"),
        ({"prompts": {"points": [[9, 1, 1]]}}, "x must be a number from 0 to 8"),
        ({"prompts": {"points": [[1, 1, 2]]}}, "1 or 0"),
        ({"prompts": {"points": [[1, 1, 1]] * 1001}}, "at most 1000"),
        ({"prompts": {"box": [3, 3, 3, 5]}}, "area"),
        ({"frame": [4, 0, 5, 6]}, "leaves"),
        ({"clock": [{"id": "x"}]}, "UUID"),
        ({"clock": [{"id": str(uuid.uuid4()), "work": -1}]}, "work"),
        ({"clock": [{"id": str(uuid.uuid4()), "work": math.nan}]}, "work"),
        ({"model": "x" * 65}, "at most 64"),
        ({"clicks": {"foreground": -1}}, "foreground"),
    ],
)
def test_what_cannot_be(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(RefusedRequest, match=message):
        bodies.mask_event(body(**changed), SIZE, min_area=0)


def test_the_smallest_mask() -> None:
    assert bodies.mask_event(body(), SIZE, min_area=6)
    with pytest.raises(RefusedRequest, match="6 pixels, at least 7"):
        bodies.mask_event(body(), SIZE, min_area=7)


def test_a_prompt() -> None:
    clicks = bodies.clicks({"points": [[1, 2, 1], [3, 4, 0]], "previous": "p-1"}, SIZE, None)
    assert (clicks.points_xy, clicks.labels) == ([(1.0, 2.0), (3.0, 4.0)], [1, 0])
    assert (clicks.previous, clicks.multimask) == ("p-1", False)
    with pytest.raises(RefusedRequest, match="a point or a box"):
        bodies.clicks({"points": []}, SIZE, None)


def test_seconds_that_cannot_be_are_cut() -> None:
    clock = bodies.clock(body())
    (cut,) = bodies.cut(clock, 0.5)
    assert (cut["search"], cut["work"]) == (0.125, 0.25)
    assert bodies.claimed(clock) == 0.75
