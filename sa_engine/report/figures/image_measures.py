"""The measures of one image and its masks."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from sa_engine.dataset.records import ImageRecord, MaskRecord
from sa_engine.masks import rle
from sa_engine.masks.shape import shape_of
from sa_engine.report.figures.measures import MASK_MEASURES

PAIRED_MASKS = 2000
"""Of an image with more masks, overlaps are looked for among the largest so many."""

Columns = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageMeasures:
    """What was measured of an image that went through.

    masks: a column of (N,) floats for each of MASK_MEASURES, nan where a mask lacks the measure.
    centres_xy: (N, 2), the centre of each mask's box, as a share of the image, [0, 1].
    covered: share of the pixels that some mask has.
    stages, models: of each mask. categories: None where a mask has none.
    damaged: masks without pixels, or that cannot be read; they are in no column.
    """

    record: ImageRecord
    masks: Columns
    centres_xy: NDArray[np.float64]
    covered: float
    stages: tuple[str, ...]
    models: tuple[str, ...]
    positions: tuple[int, ...]
    damaged: int

    def image(self) -> dict[str, float]:
        """The image's own measures."""
        return {
            "masks": float(len(self.stages)),
            "covered": self.covered,
            "megapixels": self.record.width * self.record.height / 1e6,
        }


def measure_image(record: ImageRecord, *, model: str = "not recorded") -> ImageMeasures:
    """Measure an image that went through.

    model: who made the masks that do not say it themselves and that no person made.
    """
    rows: list[dict[str, float]] = []
    kept: list[int] = []
    for position, mask in enumerate(record.annotations):
        row = _mask_row(mask, record)
        if row is not None:
            rows.append(row)
            kept.append(position)
    masks = [record.annotations[position] for position in kept]
    coded = [mask.segmentation for mask in masks]
    columns = {
        measure.name: np.array([row.get(measure.name, np.nan) for row in rows], dtype=np.float64)
        for measure in MASK_MEASURES
    }
    columns["largest_iou"], columns["inside"] = overlaps(coded)
    size_wh = np.array([record.width, record.height], dtype=np.float64)
    boxes = np.array([mask.bbox_xywh for mask in masks], dtype=np.float64).reshape(-1, 4)
    pixels = record.width * record.height
    return ImageMeasures(
        record=record,
        masks=columns,
        centres_xy=np.clip((boxes[:, :2] + boxes[:, 2:] / 2) / size_wh, 0, 1),
        covered=rle.area(rle.union(coded)) / pixels if coded else 0.0,
        stages=tuple(mask.stage.value for mask in masks),
        models=tuple(model_of(mask, model) for mask in masks),
        positions=tuple(kept),
        damaged=len(record.annotations) - len(kept),
    )


def overlaps(masks: list[rle.Rle]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Of each mask the largest IoU with another one, and the largest share that lies in one that is
    larger: two of (N,), [0, 1], nan for masks that were not looked at. All went through `rle.runs`.
    """
    largest, inside = np.full(len(masks), np.nan), np.full(len(masks), np.nan)
    if not masks:
        return largest, inside
    areas = np.array(rle.areas(masks), dtype=np.float64)
    looked = np.sort(np.argsort(-areas, kind="stable")[:PAIRED_MASKS])
    coded: Any = [
        {"size": list(masks[i].size_hw), "counts": masks[i].counts.encode("ascii")} for i in looked
    ]
    # With a crowd, COCO's IoU is the intersection over the first mask's area.
    shares = np.asarray(coco_mask.iou(coded, coded, [1] * len(coded)), dtype=np.float64)
    area = areas[looked]
    shared = shares * area[:, None]
    np.fill_diagonal(shared, 0)
    largest[looked] = (shared / (area[:, None] + area[None] - shared)).max(axis=1)
    is_larger = area[None] > area[:, None]
    inside[looked] = np.where(is_larger, shared / area[:, None], 0).max(axis=1)
    return largest, inside


def _mask_row(mask: MaskRecord, record: ImageRecord) -> dict[str, float] | None:
    try:
        shape = shape_of(mask.segmentation)
    except ValueError:
        shape = None
    if shape is None or mask.segmentation.size_hw != (record.height, record.width):
        return None
    _, _, width, height = mask.bbox_xywh
    row: dict[str, float] = {
        "relative_size": (shape.area / (record.width * record.height)) ** 0.5,
        "area": shape.area,
        "concavity": shape.concavity,
        "aspect": width / height if height > 0 else np.nan,
        "boundary_px": shape.boundary_px,
        "components": shape.components,
        "holes": shape.holes,
    }
    given = {
        "predicted_iou": mask.predicted_iou,
        "stability_score": mask.stability_score,
        "box_score": mask.box_score,
        "seconds": mask.time_spent_s,
        "clicks": _clicks(mask.attributes.get("clicks")),
    }
    return row | {name: value for name, value in given.items() if value is not None}


def _clicks(said: object) -> float | None:
    """Clicks of a person, as the annotator stores them: a number, or numbers by kind."""
    if isinstance(said, bool):
        return None
    if isinstance(said, int | float):
        return float(said)
    if isinstance(said, Mapping):
        parts = [said.get("foreground"), said.get("background")]
        if all(isinstance(part, int) for part in parts):
            return float(sum(part for part in parts if isinstance(part, int)))
    return None


def model_of(mask: MaskRecord, model: str) -> str:
    """Who made a mask: what it says itself, "people", or else `model`."""
    said = mask.attributes.get("model")
    if isinstance(said, Mapping):
        said = said.get("name")
    if isinstance(said, str) and said:
        return said
    return "people" if mask.predicted_iou is None and mask.stability_score is None else model
