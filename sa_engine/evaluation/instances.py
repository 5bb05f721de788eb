"""Instances from given boxes: mask AP and boundary AP (paper, section 7.4).

The counting is COCO's (`pycocotools.cocoeval`). Boundary AP puts in place of the IoU of two masks
the lesser of it and the IoU of their boundary bands, 2 % of the image's diagonal wide. Source:
Cheng et al., "Boundary IoU" (CVPR 2021). Sets with LVIS's fields are federated: a detection counts
in images where its category was looked for; where it was not looked for in full
(`not_exhaustive_category_ids`) a detection that matches nothing is not wrong. Source: Gupta et al.,
"LVIS" (CVPR 2019).
"""

import contextlib
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from sa_engine.evaluation.proposals import AREAS, FREQUENCIES
from sa_engine.masks import rle
from sa_engine.masks.rle import Mask, Rle

BAND = 0.02
"""Width of the boundary band, of the image's diagonal."""
LVIS_DETECTIONS, COCO_DETECTIONS = 300, 100
"""Detections of an image that count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """A known or segmented object. score: None for a known one."""

    image_id: int
    category: int
    mask: Rle
    score: float | None = None
    iscrowd: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageLimits:
    """What a federated set says of an image: the categories that were looked for, and of these
    the ones that were not looked for in full. looked_for is None where every category was.
    """

    looked_for: frozenset[int] | None = None
    not_in_full: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceScores:
    """The figures for a size class or a frequency of categories; nan where it has no objects.

    ap: average precision over IoU 0.5 to 0.95; ap_50: at 0.5; boundary_ap: of boundary IoU.
    """

    name: str
    objects: int
    ap: float
    ap_50: float
    ap_75: float
    boundary_ap: float


def boundary_band(mask: Mask, band: float = BAND) -> Mask:
    """The pixels of a (H, W) mask that lie near its outline; the image's edge is an outline."""
    height, width = mask.shape
    wide = max(1, round(band * float(np.hypot(height, width))))
    padded = cv2.copyMakeBorder(mask.view(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    inner = cv2.erode(padded, np.ones((3, 3), np.uint8), iterations=wide)[1:-1, 1:-1]
    near: Mask = mask & (inner == 0)
    return near


def boundary_iou(first: Rle, second: Rle, band: float = BAND) -> float:
    """IoU of the boundary bands of two masks of one size; 0 if both are empty."""
    bands = [boundary_band(rle.decode(mask), band) for mask in (first, second)]
    union = int((bands[0] | bands[1]).sum())
    return int((bands[0] & bands[1]).sum()) / union if union else 0.0


def instance_scores(
    known: Sequence[Instance],
    found: Sequence[Instance],
    limits: Mapping[int, ImageLimits],
    *,
    frequencies: Mapping[int, str] | None = None,
) -> list[InstanceScores]:
    """The figures over all sizes, by COCO's size classes and, where known, by frequency.

    limits: of every image, by id. frequencies: of categories, by LVIS's letters r, c and f.
    """
    counted, ignored = list(known), []
    kept = [each for each in found if _counts(each, limits[each.image_id])]
    is_federated = any(limit.looked_for is not None for limit in limits.values())
    detections = LVIS_DETECTIONS if is_federated else COCO_DETECTIONS
    if is_federated:
        # LVIS limits an image's detections of all categories together.
        kept = _best(kept, LVIS_DETECTIONS)
    numbers = sorted(limits)
    categories = sorted({each.category for each in (*counted, *kept)})
    for number, limit in limits.items():
        ignored += [(number, category) for category in limit.not_in_full]
    masks, bands = (
        _Counted(counted, kept, numbers, categories, frozenset(ignored), detections, kind)
        for kind in (_MaskIou, _BoundaryIou)
    )
    rows = [_row(name, place, counted, None, masks, bands) for place, name in enumerate(AREAS)]
    for name, letter in FREQUENCIES.items():
        chosen = [c for c in categories if (frequencies or {}).get(c) == letter]
        if chosen:
            rows.append(_row(name, 0, counted, chosen, masks, bands))
    return [row for row in rows if row.objects]


def _counts(instance: Instance, limit: ImageLimits) -> bool:
    return limit.looked_for is None or instance.category in limit.looked_for


def _best(instances: Sequence[Instance], count: int) -> list[Instance]:
    """Of each image the `count` instances with the highest scores."""
    by_image: dict[int, list[Instance]] = {}
    for each in instances:
        by_image.setdefault(each.image_id, []).append(each)
    return [
        each
        for own in by_image.values()
        for each in sorted(own, key=lambda one: -(one.score or 0.0))[:count]
    ]


class _MaskIou(COCOeval):
    """COCO's evaluation where detections that may be right are ignored when they match nothing."""

    unsure: frozenset[tuple[int, int]] = frozenset()

    def evaluateImg(self, imgId: int, catId: int, aRng: Any, maxDet: int) -> Any:  # noqa: N802
        """See `COCOeval`; its result has a row for each IoU threshold."""
        result = super().evaluateImg(imgId, catId, aRng, maxDet)
        if result is not None and (imgId, catId) in self.unsure:
            result["dtIgnore"] = np.logical_or(result["dtIgnore"], result["dtMatches"] == 0)
        return result


class _BoundaryIou(_MaskIou):
    """The same with the lesser of mask IoU and boundary IoU."""

    def computeIoU(self, imgId: int, catId: int) -> Any:  # noqa: N802
        """See `COCOeval`: (detections, known objects)."""
        ious = super().computeIoU(imgId, catId)
        if not len(ious):
            return ious
        known: Any = self.__dict__["_gts"][imgId, catId]
        found: Any = sorted(self.__dict__["_dts"][imgId, catId], key=lambda each: -each["score"])
        found = found[: self.params.maxDets[-1]]
        lesser = np.array(ious, dtype=np.float64)
        for row, column in np.argwhere(lesser > 0):
            if not known[column]["iscrowd"]:
                near = boundary_iou(_rle(found[row]), _rle(known[column]))
                lesser[row, column] = min(lesser[row, column], near)
        return lesser


class _Counted:
    """Precision by IoU, recall, category and size class, (T, R, K, A), of one kind of IoU."""

    def __init__(
        self,
        known: Sequence[Instance],
        found: Sequence[Instance],
        numbers: Sequence[int],
        categories: Sequence[int],
        unsure: frozenset[tuple[int, int]],
        detections: int,
        kind: type[_MaskIou],
    ) -> None:
        self.categories = list(categories)
        # The counting prints; nobody wants to read it.
        with contextlib.redirect_stdout(io.StringIO()):
            evaluation = kind(
                _coco(known, numbers, categories), _coco(found, numbers, categories), "segm"
            )
            evaluation.unsure = unsure
            parameters = evaluation.params
            parameters.maxDets = [1, 10, detections]
            parameters.areaRng = [list(limits) for limits in AREAS.values()]
            parameters.areaRngLbl = list(AREAS)
            evaluation.evaluate()
            evaluation.accumulate()
        precision_TRKAM = np.asarray(evaluation.eval["precision"])
        self._precision_TRKA: NDArray[np.float64] = precision_TRKAM[..., -1]

    def mean(self, size: int, categories: Sequence[int] | None, iou: slice = slice(None)) -> float:
        """COCO's mean, nan where nothing is to be found."""
        chosen = self._precision_TRKA[iou, :, :, size]
        if categories is not None:
            chosen = chosen[:, :, [self.categories.index(c) for c in categories]]
        counted = chosen[chosen > -1]
        return float(counted.mean()) if counted.size else float("nan")


def _row(
    name: str,
    size: int,
    known: Sequence[Instance],
    categories: Sequence[int] | None,
    masks: _Counted,
    bands: _Counted,
) -> InstanceScores:
    low, high = list(AREAS.values())[size]
    chosen = None if categories is None else set(categories)
    objects = sum(
        not each.iscrowd
        and low <= rle.area(each.mask) < high
        and (chosen is None or each.category in chosen)
        for each in known
    )
    return InstanceScores(
        name=name,
        objects=objects,
        ap=masks.mean(size, categories),
        ap_50=masks.mean(size, categories, slice(0, 1)),
        ap_75=masks.mean(size, categories, slice(5, 6)),
        boundary_ap=bands.mean(size, categories),
    )


def _coco(instances: Sequence[Instance], numbers: Sequence[int], categories: Sequence[int]) -> COCO:
    sizes = {each.image_id: each.mask.size_hw for each in instances}
    content: Any = {
        "images": [
            {"id": n, "height": sizes.get(n, (1, 1))[0], "width": sizes.get(n, (1, 1))[1]}
            for n in numbers
        ],
        "categories": [{"id": category, "name": str(category)} for category in categories],
        "annotations": list(_annotations(instances)),
    }
    coco = COCO()
    coco.dataset = content
    coco.createIndex()
    return coco


def _annotations(instances: Sequence[Instance]) -> Iterator[dict[str, Any]]:
    """COCO's annotations; ids count from 1, as 0 stands for none."""
    for number, each in enumerate(instances, start=1):
        item = {
            "id": number,
            "image_id": each.image_id,
            "category_id": each.category,
            "segmentation": {
                "size": list(each.mask.size_hw),
                "counts": each.mask.counts.encode("ascii"),
            },
            "area": rle.area(each.mask),
            "bbox": list(rle.bbox_xywh(each.mask)),
            "iscrowd": int(each.iscrowd),
        }
        yield item if each.score is None else item | {"score": each.score}


def _rle(item: Mapping[str, Any]) -> Rle:
    height, width = item["segmentation"]["size"]
    return Rle((height, width), item["segmentation"]["counts"].decode("ascii"))
