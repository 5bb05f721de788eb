"""Boxes as object proposals, scored as COCO scores them, all categories as one.

Average recall over IoU 0.5 to 0.95 with the first 10, 100 and 1000 boxes of an image, and average
precision at IoU 0.5 with 100 boxes; by COCO's size classes. Source: COCO's detection evaluation,
`pycocotools.cocoeval`, which does the counting.
"""

import contextlib
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from sa_engine.dataset.reader import Dataset
from sa_engine.dataset.records import MaskRecord
from sa_engine.evaluation.points import chosen_images
from sa_engine.evaluation.proposals import AREAS, assign
from sa_engine.masks import boxes as box_algebra

COUNTS = (10, 100, 1000)
"""Boxes of an image that count."""

FindBoxes = Callable[[NDArray[np.uint8]], tuple[NDArray[Any], NDArray[Any]]]
"""An RGB image to its boxes (N, 4), xyxy in its pixels, and their scores (N,)."""


@dataclass(frozen=True, slots=True)
class PictureBoxes:
    """What one method found in one image, and what is known of it.

    known: the image's masks with pixels, crowds among them; mask_ids: theirs.
    boxes_xyxy_N4, scores_N: what was found, best first, at most 1000.
    """

    dataset: str
    image_id: int
    size_hw: tuple[int, int]
    method: str
    known: tuple[MaskRecord, ...]
    mask_ids: tuple[int, ...]
    boxes_xyxy_N4: NDArray[np.float64]
    scores_N: NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundObject:
    """One known object, and how well the best of a method's first boxes fits it.

    boxes: found in its image. iou_10, iou_100, iou_1000: with so many boxes, matched one to one.
    """

    dataset: str
    image_id: int
    mask_id: int
    area: int
    method: str
    boxes: int
    iou_10: float
    iou_100: float
    iou_1000: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxScores:
    """A method's figures for a size class of a set; nan where it has no objects.

    boxes: found in an image, mean. ar_10, ar_100, ar_1000: average recall. ap_50: average
    precision at IoU 0.5.
    """

    dataset: str
    method: str
    size: str
    objects: int
    boxes: float
    ar_10: float
    ar_100: float
    ar_1000: float
    ap_50: float


def evaluate_boxes(
    dataset: Dataset,
    name: str,
    *,
    methods: Mapping[str, FindBoxes],
    max_images: int | None = None,
) -> Iterator[list[PictureBoxes]]:
    """Let every method find boxes in every image; yields one image at a time.

    Raises UsageError if the set has no mask to find.
    """
    for record in chosen_images(dataset, name, max_images):
        rgb = dataset.read_rgb(record)
        places = [i for i, mask in enumerate(record.annotations) if mask.area]
        known = tuple(record.annotations[i] for i in places)
        ids = tuple(record.mask_id(i) for i in places)
        made = []
        for method, find in methods.items():
            found, given = find(rgb)
            boxes = np.asarray(found, dtype=np.float64).reshape(-1, 4)
            scores = np.asarray(given, dtype=np.float64)
            order = np.argsort(-scores, kind="stable")[: COUNTS[-1]]
            made.append(
                PictureBoxes(
                    dataset=name,
                    image_id=record.image_id,
                    size_hw=(record.height, record.width),
                    method=method,
                    known=known,
                    mask_ids=ids,
                    boxes_xyxy_N4=boxes[order],
                    scores_N=scores[order],
                )
            )
        yield made


def box_scores(pictures: Sequence[PictureBoxes]) -> list[BoxScores]:
    """The figures by set, method and size class, in the order in which they come."""
    groups: dict[tuple[str, str], list[PictureBoxes]] = {}
    for picture in pictures:
        groups.setdefault((picture.dataset, picture.method), []).append(picture)
    return [scores for group in groups.values() for scores in _scores_of(group)]


def found_objects(picture: PictureBoxes) -> list[FoundObject]:
    """Each known object of an image and its best box, crowds left out."""
    chosen = [k for k, mask in enumerate(picture.known) if not mask.iscrowd]
    known_xywh = np.array([picture.known[k].bbox_xywh for k in chosen]).reshape(-1, 4)
    ious = box_algebra.iou_matrix(picture.boxes_xyxy_N4, box_algebra.xywh_to_xyxy(known_xywh))
    best = [assign(ious[:count]) for count in COUNTS]
    return [
        FoundObject(
            dataset=picture.dataset,
            image_id=picture.image_id,
            mask_id=picture.mask_ids[k],
            area=picture.known[k].area,
            method=picture.method,
            boxes=len(picture.scores_N),
            iou_10=float(best[0][place]),
            iou_100=float(best[1][place]),
            iou_1000=float(best[2][place]),
        )
        for place, k in enumerate(chosen)
    ]


def _scores_of(pictures: Sequence[PictureBoxes]) -> Iterator[BoxScores]:
    """All size classes of one set and method."""
    # The counting prints; nobody wants to read it.
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(_known(pictures), _found(pictures), "bbox")
        parameters = evaluation.params
        parameters.maxDets = list(COUNTS)
        parameters.areaRng = [list(limits) for limits in AREAS.values()]
        parameters.areaRngLbl = list(AREAS)
        evaluation.evaluate()
        evaluation.accumulate()
    recall_TKAM = np.asarray(evaluation.eval["recall"])
    precision_TRKAM = np.asarray(evaluation.eval["precision"])
    areas = [mask.area for p in pictures for mask in p.known if not mask.iscrowd]
    boxes = float(np.mean([len(p.scores_N) for p in pictures]))
    for a, (size, (low, high)) in enumerate(AREAS.items()):
        objects = sum(low <= area < high for area in areas)
        if not objects:
            continue
        ar = [_mean(recall_TKAM[:, 0, a, m]) for m in range(len(COUNTS))]
        yield BoxScores(
            dataset=pictures[0].dataset,
            method=pictures[0].method,
            size=size,
            objects=objects,
            boxes=boxes,
            ar_10=ar[0],
            ar_100=ar[1],
            ar_1000=ar[2],
            ap_50=_mean(precision_TRKAM[0, :, 0, a, COUNTS.index(100)]),
        )


def _known(pictures: Sequence[PictureBoxes]) -> COCO:
    return _coco(
        len(pictures),
        [
            {
                "image_id": n,
                "bbox": list(mask.bbox_xywh),
                "area": mask.area,
                "iscrowd": int(mask.iscrowd),
            }
            for n, picture in enumerate(pictures)
            for mask in picture.known
        ],
    )


def _found(pictures: Sequence[PictureBoxes]) -> COCO:
    items = []
    for n, picture in enumerate(pictures):
        boxes_xywh = box_algebra.xyxy_to_xywh(picture.boxes_xyxy_N4)
        for box, score in zip(boxes_xywh.tolist(), picture.scores_N.tolist(), strict=True):
            area = box[2] * box[3]
            items.append({"image_id": n, "bbox": box, "area": area, "iscrowd": 0, "score": score})
    return _coco(len(pictures), items)


def _coco(num_images: int, items: Sequence[dict[str, Any]]) -> COCO:
    """Annotations of one category; ids count from 1, as 0 stands for none."""
    content: Any = {
        "images": [{"id": n} for n in range(num_images)],
        "categories": [{"id": 1, "name": "object"}],
        "annotations": [
            {**item, "id": number, "category_id": 1} for number, item in enumerate(items, start=1)
        ],
    }
    coco = COCO()
    coco.dataset = content
    coco.createIndex()
    return coco


def _mean(values: NDArray[Any]) -> float:
    """COCO's mean: -1 stands for nothing to find."""
    counted = values[values > -1]
    return float(counted.mean()) if counted.size else float("nan")
