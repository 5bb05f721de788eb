"""A mask's record as Python users take it."""

import numpy as np

from sa_engine.dataset.records import MaskRecord, Stage
from sa_engine.masks import rle


def test_a_mask_under_the_published_generators_keys() -> None:
    pixels = np.zeros((4, 6), dtype=bool)
    pixels[1:3, 2:5] = True
    record = MaskRecord(
        segmentation=rle.encode(pixels),
        bbox_xywh=(2.0, 1.0, 3.0, 2.0),
        area=6,
        stage=Stage.AUTOMATIC,
        predicted_iou=0.9,
        stability_score=0.8,
        crop_box_xywh=(0.0, 0.0, 6.0, 4.0),
        point_coords_xy=((3.0, 1.5),),
    )
    np.testing.assert_array_equal(record.mask, pixels)
    known = record.as_dict()
    np.testing.assert_array_equal(known.pop("segmentation"), pixels)
    assert known == {
        "area": 6,
        "bbox": [2.0, 1.0, 3.0, 2.0],
        "predicted_iou": 0.9,
        "point_coords": [[3.0, 1.5]],
        "stability_score": 0.8,
        "crop_box": [0.0, 0.0, 6.0, 4.0],
    }
