import numpy as np
from numpy.typing import NDArray

from sa_engine.automask.config import GeneratorConfig
from sa_engine.automask.finish import clean_and_limit, drop_overlapping
from sa_engine.dataset.records import MaskRecord, Stage
from sa_engine.masks import rle as run_lengths
from sa_engine.masks.regions import SmallMasks

SIZE_HW = (20, 30)


def block(x0: int, y0: int, x1: int, y1: int) -> NDArray[np.bool_]:
    mask = np.zeros(SIZE_HW, dtype=np.bool_)
    mask[y0:y1, x0:x1] = True
    return mask


def record(mask: NDArray[np.bool_], predicted_iou: float = 0.9) -> MaskRecord:
    rle = run_lengths.encode(mask)
    return MaskRecord(
        segmentation=rle,
        bbox_xywh=run_lengths.bbox_xywh(rle),
        area=run_lengths.area(rle),
        stage=Stage.AUTOMATIC,
        predicted_iou=predicted_iou,
        stability_score=0.95,
        crop_box_xywh=(0, 0, 30, 20),
    )


def clean(records: list[MaskRecord], config: GeneratorConfig) -> list[MaskRecord]:
    return clean_and_limit(records, image_size_hw=SIZE_HW, config=config)


def test_changed_masks_get_new_figures_and_come_after_unchanged_ones() -> None:
    holed = block(0, 0, 6, 6) & ~block(2, 2, 3, 3)
    speckled = block(10, 0, 16, 6) | block(29, 19, 30, 20)
    plain = block(0, 10, 6, 16)
    result = clean(
        [record(holed), record(speckled), record(plain)], GeneratorConfig(min_mask_region_area=5)
    )
    assert [r.bbox_xywh for r in result] == [(0, 10, 6, 6), (0, 0, 6, 6), (10, 0, 6, 6)]
    assert [r.area for r in result] == [36, 36, 36]


def test_duplicates_made_by_cleaning_are_suppressed_in_favour_of_the_unchanged() -> None:
    holed = record(block(0, 0, 9, 9) & ~block(2, 2, 3, 3), 0.99)
    plain = record(block(0, 0, 9, 9), 0.5)
    assert clean([holed, plain], GeneratorConfig(min_mask_region_area=5)) == [plain]


def test_the_greater_of_both_thresholds_decides() -> None:
    pair = [record(block(0, 0, 10, 9)), record(block(0, 0, 9, 9))]
    strict = GeneratorConfig(min_mask_region_area=5, box_nms_thresh=0.5, crop_nms_thresh=0.5)
    loose = GeneratorConfig(min_mask_region_area=5, box_nms_thresh=0.5, crop_nms_thresh=0.95)
    assert len(clean(pair, strict)) == 1
    assert len(clean(pair, loose)) == 2


def test_masks_of_small_pieces_only() -> None:
    tiny = record(block(3, 3, 5, 5))
    kept = clean([tiny], GeneratorConfig(min_mask_region_area=100))
    assert kept == [tiny]
    dropped = GeneratorConfig(min_mask_region_area=100, small_masks=SmallMasks.DROP)
    assert clean([tiny], dropped) == []


def test_limits_of_area_hold_after_cleaning() -> None:
    almost = record(block(0, 0, 30, 19) & ~block(4, 4, 5, 5))
    config = GeneratorConfig(min_mask_region_area=5, max_mask_area=569)
    assert almost.area == 569
    assert clean([almost], config) == []


def test_zero_leaves_everything_as_it_is() -> None:
    records = [record(block(0, 0, 1, 1)), record(block(0, 0, 1, 1))]
    assert clean(records, GeneratorConfig()) == records


def test_mask_nms_prefers_predicted_iou_and_keeps_the_order() -> None:
    a, b, c = (
        record(block(0, 0, 10, 10), 0.8),
        record(block(20, 0, 30, 10), 0.7),
        record(block(0, 0, 10, 9) | block(29, 19, 30, 20), 0.9),
    )
    assert drop_overlapping([a, b, c], GeneratorConfig()) == [a, b, c]
    assert drop_overlapping([a, b, c], GeneratorConfig(mask_nms_thresh=0.8)) == [b, c]
    assert drop_overlapping([a, b, c], GeneratorConfig(mask_nms_thresh=1.0)) == [a, b, c]
