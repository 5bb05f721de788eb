"""Everything mode as object proposals: how many of the known objects are among the masks.

Source: "Segment Anything", section 7.3: masks ranked by the mean of predicted IoU and stability;
average recall over IoU thresholds 0.5 to 0.95 with the first 100 or 1000 masks of an image.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sa_engine.automask.config import GeneratorConfig
from sa_engine.dataset.reader import Dataset
from sa_engine.dataset.records import MaskRecord
from sa_engine.evaluation.points import chosen_images
from sa_engine.masks import rle

THRESHOLDS = np.arange(0.5, 0.96, 0.05)
FREQUENCIES = {"rare": "r", "common": "c", "frequent": "f"}
"""LVIS's classes of categories by the images that have them, and its letters for them."""
AREAS = {
    "all": (0, 10**12),
    "small": (0, 32**2),
    "medium": (32**2, 96**2),
    "large": (96**2, 10**12),
}
"""COCO's size classes, pixels."""

Generate = Callable[[NDArray[np.uint8]], Sequence[MaskRecord]]
"""An RGB image to its masks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundObjects:
    """One known object, and how well the best of the first masks covers it.

    proposals: masks made in its image. iou_100, iou_1000: with the first 100 and 1000 masks,
        matched one to one.
    frequency: of its category, by LVIS's letters r, c and f; "" if it is not known.
    """

    dataset: str
    image_id: int
    mask_id: int
    area: int
    proposals: int
    iou_100: float
    iou_1000: float
    frequency: str = ""


@dataclass(frozen=True, slots=True)
class Recall:
    """Average recall of a size class, or of objects of a frequency."""

    objects: int
    at_100: float
    at_1000: float


def proposal_config(config: GeneratorConfig) -> GeneratorConfig:
    """The paper's settings for proposals: no quality filters, NMS at 0.9."""
    return replace(
        config,
        pred_iou_thresh=0.0,
        stability_score_thresh=0.0,
        box_nms_thresh=0.9,
        mask_nms_thresh=1.0,
        crop_n_layers=0,
    )


def evaluate_proposals(
    dataset: Dataset,
    name: str,
    *,
    generate: Generate,
    max_images: int | None = None,
    frequencies: Mapping[int, str] | None = None,
) -> Iterator[list[FoundObjects]]:
    """Make all masks of each image and match them with the known ones; yields by image.

    frequencies: of categories, by the source's numbers.
    """
    known_frequencies = frequencies or {}
    for record in chosen_images(dataset, name, max_images):
        made = sorted(generate(dataset.read_rgb(record)), key=mask_rank, reverse=True)
        known = [(i, m) for i, m in enumerate(record.annotations) if not m.iscrowd and m.area]
        ious = rle.iou_matrix(
            [m.segmentation for m in made[:1000]], [m.segmentation for _, m in known]
        )
        at_100, at_1000 = assign(ious[:100]), assign(ious)
        yield [
            FoundObjects(
                dataset=name,
                image_id=record.image_id,
                mask_id=record.mask_id(i),
                area=mask.area,
                proposals=len(made),
                iou_100=float(at_100[k]),
                iou_1000=float(at_1000[k]),
                frequency=known_frequencies.get(mask.attributes.get("category_id", -1), ""),
            )
            for k, (i, mask) in enumerate(known)
        ]


def assign(ious_PG: NDArray[np.float64]) -> NDArray[np.float64]:
    """Match proposals and objects one to one, best pairs first; each object's IoU, (G,)."""
    proposals, objects = ious_PG.shape
    best = np.zeros(objects)
    if not proposals:
        return best
    left = ious_PG.copy()
    for _ in range(min(proposals, objects)):
        p, g = np.unravel_index(int(np.argmax(left)), left.shape)
        if left[p, g] <= 0:
            break
        best[g] = left[p, g]
        left[p, :] = -1
        left[:, g] = -1
    return best


def average_recall(found: Sequence[FoundObjects]) -> dict[str, Recall]:
    """Average recall by size class and by frequency; classes without any object are left out."""
    recalls: dict[str, Recall] = {}
    classes = {
        name: [f for f in found if low <= f.area < high] for name, (low, high) in AREAS.items()
    }
    for name, letter in FREQUENCIES.items():
        classes[name] = [f for f in found if f.frequency == letter]
    for name, chosen in classes.items():
        if chosen:
            at_100 = _recall(np.array([f.iou_100 for f in chosen]))
            at_1000 = _recall(np.array([f.iou_1000 for f in chosen]))
            recalls[name] = Recall(len(chosen), at_100, at_1000)
    return recalls


def _recall(ious: NDArray[np.float64]) -> float:
    return float(np.mean([(ious >= t - 1e-9).mean() for t in THRESHOLDS]))


def mask_rank(mask: MaskRecord) -> float:
    """The mean of predicted IoU and stability: the paper's order of proposals."""
    return ((mask.predicted_iou or 0.0) + (mask.stability_score or 0.0)) / 2
