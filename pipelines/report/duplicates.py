"""Images that are in a dataset more than once, or in several."""

from collections.abc import Sequence
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


def alike_in_common(hashes: tuple[Numbered, Numbered], contents: tuple[Numbered, Numbered]) -> int:
    """Images of a first dataset that look like one of a second, which has another file of it.

    hashes, contents: of both; images whose very file the second has do not count, see `in_common`.
    """
    first, second = hashes
    known = set(_values(contents[1]).tolist())
    shared = {image_id for image_id, value in contents[0] if value in known}
    both = np.concatenate([_values(first), _values(second)])
    found = {first[a][0] for a, b, _ in near_pairs(both, limit=MOST_BETWEEN) if a < len(first) <= b}
    return len(found - shared)


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
