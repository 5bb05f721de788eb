"""Which image comes next."""

import random
from enum import StrEnum


class Order(StrEnum):
    """How the queue is ordered."""

    LISTED = "listed"
    RANDOM = "random"


def image_order(count: int, order: Order, *, seed: int, sample: int | None) -> list[int]:
    """Image ids, from 1, as they are given out; with `sample` only so many, at random."""
    every = list(range(1, count + 1))
    draw = random.Random(f"sa-engine {seed}")
    if sample is not None and sample < count:
        every = sorted(draw.sample(every, sample))
    if order is Order.RANDOM:
        draw.shuffle(every)
    return every
