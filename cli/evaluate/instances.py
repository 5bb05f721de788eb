"""`sa-engine evaluate instances`."""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sa_engine.cli.evaluate.shared import (
    bar,
    category_frequencies,
    load_model,
    open_sets,
    write,
)
from sa_engine.cli.shared.console import console
from sa_engine.dataset.reader import Dataset
from sa_engine.dataset.records import ImageRecord, MaskRecord
from sa_engine.errors import UsageError
from sa_engine.evaluation.box_file import BoxFile, GivenBox, read_boxes
from sa_engine.evaluation.instances import (
    ImageLimits,
    Instance,
    InstanceScores,
    instance_scores,
)
from sa_engine.evaluation.points import chosen_images
from sa_engine.evaluation.summary import layout
from sa_engine.masks.rle import encode
from sa_engine.model.device import choose_device, choose_precision
from sa_engine.model.predictor import Predictor

BOXES_AT_ONCE = 16
TITLES = ("set", "objects of", "objects", "AP", "AP50", "AP75", "boundary AP")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class InstanceRow:
    """A figure of a set for a file."""

    dataset: str
    name: str
    objects: int
    ap: float
    ap_50: float
    ap_75: float
    boundary_ap: float


def measure_instances(
    datasets: tuple[Path | str, ...],
    boxes_file: Path | None,
    max_images: int | None,
    out: Path | None,
    markdown: bool,
    **options: Any,
) -> None:
    """See `evaluate instances`."""
    boxes = None if boxes_file is None else read_boxes(boxes_file)
    opened = open_sets(datasets)
    sam, _ = load_model(options)
    device = choose_device(options["device"])
    predictor = Predictor(sam, device, choose_precision(options["precision"], device))
    rows: list[InstanceRow] = []
    for name, dataset in opened.items():
        scores = _measure(dataset, name, predictor, boxes, max_images)
        rows += [InstanceRow(dataset=name, **dataclasses.asdict(each)) for each in scores]
    lines = [
        [
            row.dataset,
            row.name,
            f"{row.objects:,}",
            *(
                "–" if math.isnan(value) else f"{value:.3f}"
                for value in (row.ap, row.ap_50, row.ap_75, row.boundary_ap)
            ),
        ]
        for row in rows
    ]
    console().say(layout(TITLES, lines, markdown=markdown))
    console().result({"rows": rows})
    write(out, rows)


def _measure(
    dataset: Dataset, name: str, predictor: Predictor, boxes: BoxFile | None, max_images: int | None
) -> list[InstanceScores]:
    records = chosen_images(dataset, name, max_images)
    categories = _Categories()
    known: list[Instance] = []
    found: list[Instance] = []
    limits: dict[int, ImageLimits] = {}
    if boxes is not None and not any(boxes.of(record) for record in records):
        raise UsageError(
            f"{boxes.path} has no box for any image of {name}: its image_id must be the number "
            "that the annotations gave the image"
        )
    for record in bar(records, len(records), name):
        own = [(mask, categories.of(mask)) for mask in record.annotations if mask.area]
        known += [
            Instance(
                image_id=record.image_id,
                category=category,
                mask=mask.segmentation,
                iscrowd=mask.iscrowd,
            )
            for mask, category in own
        ]
        limits[record.image_id] = _limits(record, [category for _, category in own])
        given = boxes.of(record) if boxes is not None else _known_boxes(own)
        found += _segment(dataset, record, predictor, given)
    return instance_scores(known, found, limits, frequencies=category_frequencies(dataset))


class _Categories:
    """The numbers of a set's categories: its source's own, or new ones for names without."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def of(self, mask: MaskRecord) -> int:
        number = mask.attributes.get("category_id")
        if isinstance(number, int):
            return number
        return self._numbers.setdefault(mask.category or "", 1_000_001 + len(self._numbers))


def _limits(record: ImageRecord, categories: Sequence[int]) -> ImageLimits:
    """What LVIS's fields say of the image."""
    absent = record.attributes.get("neg_category_ids")
    if not isinstance(absent, list):
        return ImageLimits()
    partly = record.attributes.get("not_exhaustive_category_ids") or ()
    return ImageLimits(looked_for=frozenset([*absent, *categories]), not_in_full=frozenset(partly))


def _known_boxes(own: Sequence[tuple[MaskRecord, int]]) -> list[GivenBox]:
    return [GivenBox(mask.bbox_xywh, category, 1.0) for mask, category in own if not mask.iscrowd]


def _segment(
    dataset: Dataset, record: ImageRecord, predictor: Predictor, given: Sequence[GivenBox]
) -> Iterator[Instance]:
    """A mask for each box; boxes outside the image and masks without pixels are left out."""
    corners = np.array([each.box_xywh for each in given], dtype=np.float64).reshape(-1, 4)
    corners[:, 2:] += corners[:, :2]
    limit = np.array([record.width, record.height] * 2)
    corners = np.clip(corners, 0, limit)
    inside = np.flatnonzero((corners[:, 2] > corners[:, 0]) & (corners[:, 3] > corners[:, 1]))
    if not inside.size:
        return
    predictor.set_image(dataset.read_rgb(record))
    for start in range(0, len(inside), BOXES_AT_ONCE):
        some = inside[start : start + BOXES_AT_ONCE]
        masks, _ = predictor.predict_boxes(corners[some])
        for place, mask in zip(some, masks[:, 0], strict=True):
            if mask.any():
                yield Instance(
                    image_id=record.image_id,
                    category=given[place].category,
                    mask=encode(mask),
                    score=given[place].score,
                )
