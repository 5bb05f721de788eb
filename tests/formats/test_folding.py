"""What holds after events: a pure function of their order, whatever is sent twice."""

import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from sa_engine.formats.work.folding import Decision, ImageState, PeopleAnswers, fold, totals

RLE = {"size": [4, 4], "counts": "04L"}


def event(n: int, kind: str, **said: Any) -> dict[str, Any]:
    return {"n": n, "at": float(n), "by": "anna", "image": 1, "kind": kind, "id": f"e{n}", **said}


def mask(n: int, name: str, revision: int, **said: Any) -> dict[str, Any]:
    clock = [{"id": f"c{n}", "search": 1.0, "work": 2.0, "waited": 0.5, "idle": 0.25}]
    said = {"rle": RLE, "how": "drawn", "clock": clock, **said}
    return event(n, "mask", mask=name, revision=revision, **said)


def live(answers: PeopleAnswers) -> list[tuple[str, int]]:
    return [(drawn.id, drawn.revision) for drawn in answers.image(1).live()]


def test_masks_stand_in_the_order_of_their_first_finish() -> None:
    answers = fold([mask(1, "a", 1), mask(2, "b", 1), mask(3, "a", 2)])
    assert live(answers) == [("a", 2), ("b", 1)]
    assert [entry["n"] for entry in answers.image(1).masks["a"].history] == [1, 3]


def test_a_removed_mask_comes_back_with_a_higher_revision_alone() -> None:
    removed = event(2, "removed", mask="a", revision=2, clock=[])
    answers = fold([mask(1, "a", 1), removed, mask(3, "a", 2)])
    assert live(answers) == []
    assert answers.image(1).removed == 1
    answers.add(mask(4, "a", 3))
    assert live(answers) == [("a", 3)]


def test_a_proposal_is_edited_while_a_mask_of_it_is_there() -> None:
    kept = event(1, "verdict", proposal=7, verdict="kept", clock=[])
    answers = fold([kept])
    assert answers.image(1).verdict(7) is Decision.KEPT
    answers.add(mask(2, "a", 1, proposal=7))
    assert answers.image(1).verdict(7) is Decision.EDITED
    answers.add(event(3, "removed", mask="a", revision=2, clock=[]))
    assert answers.image(1).verdict(7) is Decision.KEPT
    assert answers.image(1).verdict(8) is Decision.UNDECIDED


def test_the_image_is_done_until_it_is_reopened() -> None:
    answers = fold([event(1, "state", state="done")])
    assert (answers.image(1).state, answers.image(1).answered) == (ImageState.DONE, 1)
    answers.add(event(2, "state", state="reopened"))
    assert (answers.image(1).state, answers.image(1).answered) == (ImageState.OPEN, None)
    answers.add(event(3, "failed", reason="truncated: it ends too early"))
    assert answers.image(1).state is ImageState.FAILED


def test_seconds_count_each_interval_once() -> None:
    again = mask(2, "a", 2)
    again["clock"] = mask(1, "a", 1)["clock"]
    answers = fold([mask(1, "a", 1), again, mask(3, "b", 1)])
    assert answers.image(1).seconds_by() == {"anna": 6.0}
    clock = answers.image(1).masks["a"].clock.values()
    assert totals(clock) == {"search": 1.0, "work": 2.0, "waited": 0.5, "idle": 0.25}


EVENTS = [
    mask(1, "a", 1),
    mask(2, "b", 1, proposal=7),
    event(3, "removed", mask="a", revision=2, clock=[]),
    event(4, "verdict", proposal=8, verdict="rejected", clock=[]),
    mask(5, "a", 3),
    event(6, "state", state="done"),
    event(7, "state", state="reopened"),
    mask(8, "c", 1),
    event(9, "state", state="done"),
]


@settings(max_examples=200)
@given(st.integers(0, len(EVENTS)), st.randoms(use_true_random=False))
def test_events_that_come_again_change_nothing(count: int, draw: random.Random) -> None:
    prefix = EVENTS[:count]
    repeated: list[dict[str, Any]] = []
    for place, each in enumerate(prefix):
        repeated.append(each)
        for _ in range(draw.randrange(3)):
            repeated.append({**draw.choice(prefix[: place + 1]), "n": each["n"]})
    plain, doubled = fold(prefix), fold(repeated)
    assert plain.image(1).live() == doubled.image(1).live()
    assert plain.image(1).verdicts == doubled.image(1).verdicts
    assert plain.image(1).state == doubled.image(1).state
    assert plain.image(1).seconds_by() == doubled.image(1).seconds_by()
