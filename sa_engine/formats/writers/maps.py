"""Writing PNG maps: a 16-bit number a pixel."""

from pathlib import Path

import numpy as np

from sa_engine.formats.codecs import png
from sa_engine.formats.reasons import Lossy, Note, Tally
from sa_engine.formats.writers.base_writer import (
    ExportedImage,
    count_boxes,
    count_image_details,
    has_details,
    with_suffix,
    write_file,
)
from sa_engine.formats.writers.survey import Survey
from sa_engine.masks.rle import decode_window

MOST_OBJECTS = 65_535
"""Objects that a 16-bit map can number."""


class MapWriter:
    """Writes a 16-bit PNG a picture under `masks`, in which each pixel has one object's number.

    Objects are numbered from 1 in the order of the masks; where masks overlap, the pixel is the
    smallest one's.
    """

    def __init__(self, out: Path, survey: Survey) -> None:  # noqa: ARG002 - as every writer
        self._out = out

    def add(self, image: ExportedImage, losses: Tally) -> None:
        """See `Writer.add`."""
        record = image.record
        count_boxes(image, losses)
        count_image_details(image, losses)
        labels = np.zeros((record.height, record.width), dtype=np.uint16)
        masks = record.annotations
        for mask, mask_id in zip(masks, image.mask_ids, strict=True):
            if mask.category is not None:
                losses.add(Note(Lossy.NO_CATEGORY, f"mask {mask_id}"))
            if has_details(mask):
                losses.add(Note(Lossy.NO_DETAILS, f"mask {mask_id}"))
        # The largest first, so that smaller ones lie on top.
        order = sorted(range(len(masks)), key=lambda place: (-masks[place].area, place))
        for place in order:
            if place < MOST_OBJECTS:
                window, (x, y) = decode_window(masks[place].segmentation)
                height, width = window.shape
                labels[y : y + height, x : x + width][window] = place + 1
        left = np.bincount(labels.reshape(-1), minlength=len(masks) + 1)[1:]
        for place, mask_id in enumerate(image.mask_ids):
            if left[place] == 0:
                losses.add(Note(Lossy.HIDDEN, f"mask {mask_id}"))
            elif left[place] < masks[place].area:
                losses.add(Note(Lossy.OVERLAPPED, f"mask {mask_id}"))
        write_file(self._out / "masks" / with_suffix(image.name, "png"), png.encode(labels))
        if image.load is not None:
            write_file(self._out / "images" / image.name, image.load())

    def finish(self) -> None:
        """Nothing is left to do."""
