"""Images that look alike: a hash of 64 bits for each, and pairs whose hashes differ in few bits."""

import io
from collections.abc import Iterator
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

MAX_BITS = 6
"""Hashes that differ in at most so many bits are of images that look alike."""
_BANDS = MAX_BITS + 1
_LEAST_SPREAD = 4.0
"""Standard deviation of grey levels under which an image is too plain to be told from another."""
MOST_PAIRS = 10_000


def image_hash(data: bytes) -> int | None:
    """A hash of what an image file shows, 64 bits: the signs of its lowest frequencies.

    JPEG files are decoded at an eighth of their size. None if the file cannot be read, or shows
    next to nothing.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.draft("L", (64, 64))
            grey = np.asarray(image.convert("L").resize((32, 32), Image.Resampling.BOX))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    if grey.std() < _LEAST_SPREAD:
        return None
    low = cv2.dct(grey.astype(np.float32))[:8, :8].ravel()
    bits = low > np.median(low[1:])
    return int(np.packbits(bits).view(">u8")[0])


def near_pairs(
    hashes: NDArray[np.uint64], *, max_bits: int = MAX_BITS, limit: int = MOST_PAIRS
) -> Iterator[tuple[int, int, int]]:
    """Pairs of positions (first, second, bits that differ), each once, at most `limit`.

    hashes: (N,). Of two hashes that differ in at most 6 bits one of 7 bands is equal, so only those
    that share a band are compared.
    """
    bounds = np.linspace(0, 64, _BANDS + 1).astype(int)
    found: set[tuple[int, int]] = set()
    for low, high in pairwise(bounds):
        band = (hashes >> np.uint64(low)) & np.uint64((1 << int(high - low)) - 1)
        order = np.argsort(band, kind="stable")
        starts = np.flatnonzero(np.diff(band[order], prepend=band[order][:1] + np.uint64(1)))
        for members in np.split(order, starts[1:]):
            for at, first in enumerate(members[:-1]):
                rest = members[at + 1 :]
                differ = _bits(hashes[first] ^ hashes[rest])
                for place in np.flatnonzero(differ <= max_bits):
                    pair = (int(first), int(rest[place]))
                    pair = (min(pair), max(pair))
                    if pair not in found:
                        found.add(pair)
                        yield (*pair, int(differ[place]))
                        if len(found) == limit:
                            return


_BITS_OF_BYTE = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).sum(axis=1)


def _bits(values: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Bits that are set in each of (N,)."""
    counts: NDArray[np.int64] = _BITS_OF_BYTE[values.view(np.uint8).reshape(-1, 8)].sum(axis=1)
    return counts
