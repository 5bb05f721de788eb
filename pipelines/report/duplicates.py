"""Images that are in a dataset more than once, or in several."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from sa_engine.report.figures.near_duplicates import near_pairs

MOST_BETWEEN = 1_000_000
"""Pairs that look alike, in two datasets and between them, after which no more are looked for."""

Numbered = Sequence[tuple[int, int]]
"""(image id, 64 bits that tell of its content)."""


def same_images(contents: Numbered) -> int:
    """Images whose file an image before them has, too."""
    return len(contents) - len(np.unique(_values(contents)))


def in_common(first: Numbered, second: Numbered) -> int:
    """Different files that two datasets both have."""
    return len(np.intersect1d(_values(first), _values(second)))


@dataclass(frozen=True, slots=True)
class Between:
    """Images of two datasets that look alike though neither has the other's file.

    first, second: how many of each. pairs: (image id, image id, bits that differ), those that
    differ least first.
    """

    first: int
    second: int
    pairs: tuple[tuple[int, int, int], ...]


def alike_between(
    hashes: tuple[Numbered, Numbered], contents: tuple[Numbered, Numbered], limit: int
) -> Between:
    """What two datasets have in common beside `in_common`; at most `limit` pairs of it.

    hashes, contents: of both.
    """
    first, second = hashes
    here, there = _has_file_of(contents[0], contents[1]), _has_file_of(contents[1], contents[0])
    pairs: list[tuple[int, int, int]] = []
    of_first: set[int] = set()
    of_second: set[int] = set()
    both = np.concatenate([_values(first), _values(second)])
    for a, b, bits in near_pairs(both, limit=MOST_BETWEEN):
        if not a < len(first) <= b:
            continue
        mine, other = first[a][0], second[b - len(first)][0]
        of_first.add(mine)
        of_second.add(other)
        if mine not in here and other not in there:
            pairs.append((bits, mine, other))
    shown = tuple((a, b, bits) for bits, a, b in islice(sorted(pairs), limit))
    return Between(len(of_first - here), len(of_second - there), shown)


def _has_file_of(contents: Numbered, other: Numbered) -> set[int]:
    """Images whose very file another dataset has."""
    known = set(_values(other).tolist())
    return {image_id for image_id, value in contents if value in known}


def alike_pairs(
    hashes: Numbered, contents: Numbered, limit: int
) -> tuple[int, list[tuple[int, int, int]]]:
    """Pairs that look alike though their files differ: how many, and the first `limit` of them as
    (image id, image id, bits that differ), those that differ least first.
    """
    ids = [image_id for image_id, _ in hashes]
    content = dict(contents)
    pairs = [
        (bits, ids[a], ids[b])
        for a, b, bits in near_pairs(_values(hashes))
        if content.get(ids[a]) is None or content.get(ids[a]) != content.get(ids[b])
    ]
    return len(pairs), [(a, b, bits) for bits, a, b in islice(sorted(pairs), limit)]


def _values(numbered: Numbered) -> NDArray[np.uint64]:
    return np.array([value for _, value in numbered], dtype=np.uint64)
