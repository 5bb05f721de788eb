"""Writing YOLO segmentation: a text file per image, one ring a row."""

import json
from pathlib import Path

from sa_engine.dataset.records import MaskRecord
from sa_engine.formats.readers.yolo_names import RINGS_IN_PIXELS
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
from sa_engine.masks.inset import to_inset_parts, to_pixels, touches_by_corner
from sa_engine.masks.polygons import PolygonPart, to_single_ring


class YoloWriter:
    """Writes `images`, `labels` and `data.yaml`.

    One ring a mask: holes and further parts are joined by cuts without width, from which the
    even-odd rule makes the same mask again. Points are just behind the corners of the pixels that
    they are in: Ultralytics cuts them to whole numbers, supervision rounds them, and both draw the
    pixels that a ring passes through as well as what it encloses; of a mask in several parts they
    draw the cuts between them, too. `data.yaml` says so with `rings: pixels`, and names no `path`:
    Ultralytics takes a relative one from elsewhere, and the file's own folder where there is none.
    """

    def __init__(self, out: Path, survey: Survey) -> None:
        self._out = out
        self._survey = survey
        ids = [category["id"] for category in survey.categories]
        self._numbers = {category_id: number for number, category_id in enumerate(ids)}
        names = enumerate(json.dumps(category["name"]) for category in survey.categories)
        lines = [
            "train: images",
            "val: images",
            f"rings: {RINGS_IN_PIXELS}",
            "names:",
            *(f"  {number}: {name}" for number, name in names),
        ]
        write_file(out / "data.yaml", ("\n".join(lines) + "\n").encode())

    def add(self, image: ExportedImage, losses: Tally) -> None:
        """See `Writer.add`."""
        record = image.record
        count_boxes(image, losses)
        count_image_details(image, losses)
        sides = (record.width, record.height)
        rows = []
        for mask, mask_id in zip(record.annotations, image.mask_ids, strict=True):
            parts = to_inset_parts(mask.segmentation)
            _count_cuts(parts, mask, mask_id, losses)
            ring = to_pixels(to_single_ring(parts)) / sides
            numbers = " ".join(f"{value:.10g}" for value in ring.reshape(-1))
            rows.append(f"{self._numbers[self._survey.id_of(mask)]} {numbers}\n")
        path = self._out / "labels" / with_suffix(image.name, "txt")
        write_file(path, "".join(rows).encode("ascii"))
        if image.load is not None:
            write_file(self._out / "images" / image.name, image.load())

    def finish(self) -> None:
        """Nothing is left to do."""


def _count_cuts(parts: list[PolygonPart], mask: MaskRecord, mask_id: int, losses: Tally) -> None:
    what = f"mask {mask_id}"
    if mask.category is None:
        losses.add(Note(Lossy.CATEGORY_ADDED, what))
    if any(part.holes for part in parts):
        losses.add(Note(Lossy.HOLES_CUT, what))
    if any(map(touches_by_corner, parts)):
        losses.add(Note(Lossy.CORNERS_CUT, what))
    if len(parts) > 1:
        losses.add(Note(Lossy.PARTS_CUT, what))
    if has_details(mask):
        losses.add(Note(Lossy.NO_DETAILS, what))
