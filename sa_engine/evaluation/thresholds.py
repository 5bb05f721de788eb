"""Which thresholds everything mode should use with a model: measured on masks that people made.

Every mask of the grid is made once without filters, then the filters are played through: what each
pair of thresholds keeps, how much of it is a known object, how many known objects it has. The pair
with the best F-score of beta 0.5 is recommended, of the pairs where every other mask is right if
there are any: a wrong mask harms a dataset more than one that is missing. Images whose known
masks are all there is to find (partitions, as BSDS500's) say more than images where only some
things are outlined.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sa_engine.dataset.reader import Dataset
from sa_engine.dataset.records import MaskRecord
from sa_engine.evaluation.points import chosen_images
from sa_engine.masks import rle
from sa_engine.masks.nms import box_nms

PRED_IOU_GRID = tuple(round(0.02 * i, 2) for i in range(10, 48))
STABILITY_GRID = (0.0, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)

Generate = Callable[[NDArray[np.uint8]], Sequence[MaskRecord]]
"""An RGB image to its masks, unfiltered."""


@dataclass(frozen=True, slots=True)
class JudgedImage:
    """All masks of one image's grid against its known masks.

    boxes_P4: xyxy, pixels. ious_PG: of each mask with each known one.
    """

    boxes_P4: NDArray[np.float64]
    predicted_iou_P: NDArray[np.float64]
    stability_P: NDArray[np.float64]
    ious_PG: NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Operating:
    """What a pair of thresholds gives.

    masks_per_image: kept after NMS. precision: share of them that match a known mask.
    recall: share of the known masks that are matched. f_half: F-score of the two with beta 0.5.
    """

    pred_iou_thresh: float
    stability_score_thresh: float
    masks_per_image: float
    precision: float
    recall: float
    f_half: float


def judge(
    dataset: Dataset, name: str, *, generate: Generate, max_images: int | None = None
) -> Iterator[JudgedImage]:
    """Make all masks of each image and hold them against the known ones; yields by image."""
    for record in chosen_images(dataset, name, max_images):
        made = generate(dataset.read_rgb(record))
        known = [m.segmentation for m in record.annotations if not m.iscrowd and m.area]
        boxes_xywh = np.array([m.bbox_xywh for m in made], dtype=np.float64).reshape(-1, 4)
        corner = boxes_xywh[:, :2]
        yield JudgedImage(
            boxes_P4=np.concatenate([corner, corner + boxes_xywh[:, 2:]], axis=1),
            predicted_iou_P=np.array([m.predicted_iou or 0.0 for m in made]),
            stability_P=np.array([m.stability_score or 0.0 for m in made]),
            ious_PG=rle.iou_matrix([m.segmentation for m in made], known),
        )


def play_through(
    images: Sequence[JudgedImage], *, match_iou: float = 0.5, nms_iou: float = 0.7
) -> list[Operating]:
    """Every pair of thresholds, by stability and then by predicted IoU.

    match_iou: from this IoU a mask is a known one, (0, 1]. nms_iou: as the generator's.
    """
    known = sum(image.ious_PG.shape[1] for image in images)
    made = []
    for stability in STABILITY_GRID:
        survivors = [_survivors(image, stability, nms_iou) for image in images]
        for pred_iou in PRED_IOU_GRID:
            kept = right = found = 0
            for predicted_K, ious_KG in survivors:
                matched_NG = ious_KG[predicted_K > pred_iou] >= match_iou
                kept += len(matched_NG)
                right += int(matched_NG.any(axis=1).sum())
                found += int(matched_NG.any(axis=0).sum())
            precision, recall = right / max(1, kept), found / max(1, known)
            made.append(
                Operating(
                    pred_iou_thresh=pred_iou,
                    stability_score_thresh=stability,
                    masks_per_image=kept / max(1, len(images)),
                    precision=precision,
                    recall=recall,
                    f_half=1.25 * precision * recall / max(1e-12, 0.25 * precision + recall),
                )
            )
    return made


def recommend(played: Sequence[Operating], *, min_precision: float = 0.5) -> Operating:
    """The pair with the best F-score of those precise enough, or of all if none is.

    Of equals the stricter one. min_precision: [0, 1]; by default every other mask must be right.
    """
    precise = [o for o in played if o.precision >= min_precision]
    return max(
        precise or played,
        key=lambda o: (round(o.f_half, 6), o.stability_score_thresh, o.pred_iou_thresh),
    )


def _survivors(
    image: JudgedImage, stability: float, nms_iou: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Predicted IoU (K,) and IoU with the known masks (K, G) of what stability and NMS leave.

    NMS takes the masks by predicted IoU, so that a threshold on it may come afterwards.
    """
    stable = np.flatnonzero(image.stability_P >= stability)
    order = box_nms(image.boxes_P4[stable], image.predicted_iou_P[stable], iou_threshold=nms_iou)
    kept = stable[order]
    return image.predicted_iou_P[kept], image.ious_PG[kept]
