"""Which image comes next."""

import random
from collections.abc import Sequence
from enum import StrEnum


class Order(StrEnum):
    """How the queue is ordered. UNCERTAIN: what the model is least sure of first."""

    LISTED = "listed"
    RANDOM = "random"
    UNCERTAIN = "uncertain"


RANDOM_SHARE = 3
"""Of ten images of an uncertain queue, so many are drawn at random: the fair sample."""


def image_order(count: int, order: Order, *, seed: int, sample: int | None) -> list[int]:
    """Image ids, from 1, as they are given out; with `sample` only so many, at random."""
    every = list(range(1, count + 1))
    draw = random.Random(f"sa-engine {seed}")
    if sample is not None and sample < count:
        every = sorted(draw.sample(every, sample))
    if order is Order.RANDOM:
        draw.shuffle(every)
    return every


def by_uncertainty(
    ids: Sequence[int], scores: dict[int, float], *, seed: int
) -> list[tuple[int, str]]:
    """(image id, why): of every ten images three at random, the others by falling score.

    Images without a score yet come after those that have one, as they are listed.
    """
    draw = random.Random(f"sa-engine {seed} uncertain")
    left = list(ids)
    at_random = left.copy()
    draw.shuffle(at_random)
    ranked = sorted(left, key=lambda each: (-scores.get(each, -1.0), each))
    found: list[tuple[int, str]] = []
    taken: set[int] = set()
    for place in range(len(left)):
        is_random = place % 10 < RANDOM_SHARE
        source = at_random if is_random else ranked
        each = next(each for each in source if each not in taken)
        taken.add(each)
        found.append((each, Order.RANDOM.value if is_random else Order.UNCERTAIN.value))
    return found
