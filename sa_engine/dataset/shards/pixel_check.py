"""Whether a stored image is the picture that its record was made from."""

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from sa_engine.dataset.images.reading import DEFAULT_MAX_PIXELS, read_image, read_rgb
from sa_engine.dataset.records import ImageRecord
from sa_engine.dataset.sources.listing import Source, read_source_bytes
from sa_engine.errors import ImageError

MOST_DIFFERENCE = 4.0
"""Mean difference of two encodings of one picture, of 255, by other versions of a library."""


def picture_faults(
    stored: bytes, record: ImageRecord, source: Source | None, options: Mapping[str, Any]
) -> Iterator[str]:
    """What is wrong with a stored image, its pixels decoded.

    One that was stored as it came has its source's digest. One that was turned or made smaller is
    held against its source, if that is still there and still the same.

    source: None if the list of sources is damaged.
    options: the manifest's, which say how images were read.
    """
    try:
        here = read_rgb(stored, max_pixels=max(1, record.width * record.height))
    except ImageError as error:
        yield f"its stored file cannot be decoded: {error}"
        return
    if hashlib.sha256(stored).hexdigest() == record.sha256 or source is None:
        return
    try:
        data = read_source_bytes(source)
    except ImageError:
        return
    if hashlib.sha256(data).hexdigest() != record.sha256:
        return
    try:
        wanted = read_image(
            data,
            max_pixels=int(options.get("max-pixels") or DEFAULT_MAX_PIXELS),
            shortest_side=options.get("shortest-side"),
        ).rgb_HW3
    except ImageError as error:
        yield f"its source, the same file as then, cannot be read: {error}"
        return
    if here.shape != wanted.shape:
        yield f"its stored file is {here.shape[:2]}, its source {wanted.shape[:2]} (height, width)"
    elif np.abs(here.astype(np.int16) - wanted).mean() > MOST_DIFFERENCE:
        yield "its stored file shows another picture than its source"
