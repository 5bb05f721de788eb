"""Photographs that were stored anew look alike, others do not; no pair is missed."""

import io
from itertools import combinations

import numpy as np
from PIL import Image

from sa_engine.report.figures.near_duplicates import image_hash, near_pairs


def picture(seed: int) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((320, 240), Image.Resampling.BICUBIC)


def stored(image: Image.Image, kind: str, **options: int) -> bytes:
    held = io.BytesIO()
    image.save(held, kind, **options)
    return held.getvalue()


def test_the_same_photograph_in_other_files() -> None:
    first = image_hash(stored(picture(1), "PNG"))
    again = image_hash(stored(picture(1).resize((200, 150)), "JPEG", quality=60))
    other = image_hash(stored(picture(2), "PNG"))
    assert first is not None and again is not None and other is not None
    assert (first ^ again).bit_count() <= 4
    assert (first ^ other).bit_count() > 12


def test_what_shows_nothing_and_what_is_no_image() -> None:
    assert image_hash(stored(Image.new("RGB", (64, 64), "black"), "PNG")) is None
    assert image_hash(b"not an image") is None
    assert image_hash(stored(picture(1), "PNG")[:200]) is None


def test_every_near_pair_is_found_once() -> None:
    rng = np.random.default_rng(5)
    base = rng.integers(0, 2**63, 60, dtype=np.uint64)
    near = base.copy()
    for place in range(60):
        for bit in rng.choice(64, place % 9, replace=False):
            near[place] ^= np.uint64(1) << np.uint64(bit)
    hashes = np.concatenate([base, near])
    expected = {
        (a, b, (int(hashes[a]) ^ int(hashes[b])).bit_count())
        for a, b in combinations(range(120), 2)
        if (int(hashes[a]) ^ int(hashes[b])).bit_count() <= 6
    }
    found = list(near_pairs(hashes))
    assert len(found) == len(set(found)) >= 45
    assert set(found) == expected
    assert len(list(near_pairs(hashes, limit=7))) == 7
    assert not list(near_pairs(hashes[:0]))
