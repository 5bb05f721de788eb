"""The last steps, on run lengths: small regions, limits of area, overlapping masks."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from sa_engine.automask.config import GeneratorConfig
from sa_engine.automask.filters import within_area_limits
from sa_engine.dataset.records import MaskRecord
from sa_engine.masks import boxes as box_algebra
from sa_engine.masks import regions
from sa_engine.masks import rle as run_lengths
from sa_engine.masks.nms import box_nms, mask_nms


def clean_and_limit(
    records: Sequence[MaskRecord], *, image_size_hw: tuple[int, int], config: GeneratorConfig
) -> list[MaskRecord]:
    """Fill small holes, drop small pieces, and suppress the duplicates that this makes.

    As the published generator does it: NMS runs over all masks again, with the greater of the two
    thresholds, and prefers masks that were not changed; so those come first in the result.
    Limits of area hold for what is left.
    """
    if config.min_mask_region_area == 0 or not records:
        return list(records)
    cleaned: list[MaskRecord] = []
    unchanged: list[float] = []
    for record in records:
        result = regions.clean(
            record.segmentation, config.min_mask_region_area, small_masks=config.small_masks
        )
        if result.mask is None:
            continue
        unchanged.append(float(not result.changed))
        if result.changed:
            record = replace(
                record,
                segmentation=result.mask,
                area=run_lengths.area(result.mask),
                bbox_xywh=run_lengths.bbox_xywh(result.mask),
            )
        cleaned.append(record)
    boxes_xywh = np.array([r.bbox_xywh for r in cleaned], dtype=np.float64).reshape(-1, 4)
    boxes_xyxy = box_algebra.xywh_to_xyxy(boxes_xywh)
    boxes_xyxy[:, 2:] -= 1  # the published code's boxes end at the last pixel
    keep = box_nms(
        boxes_xyxy,
        np.array(unchanged),
        iou_threshold=max(config.box_nms_thresh, config.crop_nms_thresh),
    )
    area = np.array([cleaned[i].area for i in keep], dtype=np.int64)
    within = within_area_limits(area, image_size_hw=image_size_hw, config=config)
    return [cleaned[i] for i in keep[within]]


def drop_overlapping(records: Sequence[MaskRecord], config: GeneratorConfig) -> list[MaskRecord]:
    """Suppress by the overlap of the masks themselves, if configured; the order stays."""
    if config.mask_nms_thresh is None or config.mask_nms_thresh == 1:
        return list(records)
    keep = mask_nms(
        [record.segmentation for record in records],
        np.array([record.predicted_iou or 0.0 for record in records]),
        threshold=config.mask_nms_thresh,
        overlap=config.mask_nms_overlap,
    )
    return [records[i] for i in np.sort(keep)]
