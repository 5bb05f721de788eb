"""A dataset as a COCO dictionary, read by pycocotools."""

from pathlib import Path
from typing import Any, cast

import numpy as np
from pycocotools.coco import COCO

from sa_engine.dataset.reader import Dataset
from tests.support.drawing import grid
from tests.support.written import Written, mask_record, write_dataset

PICTURE = np.zeros((3, 4, 3), dtype=np.uint8)


def test_pycocotools_reads_every_mask(tmp_path: Path) -> None:
    one, two = mask_record(grid("....", ".##.", "....")), mask_record(grid("#...", "....", "...#"))
    write_dataset(
        tmp_path / "data", [Written(PICTURE, [one, two]), Written(None), Written(PICTURE)]
    )
    content = Dataset(tmp_path / "data").to_coco()
    assert [image["id"] for image in content["images"]] == [1, 3]
    assert content["categories"] == [{"id": 1, "name": "object"}]
    coco = COCO()
    coco.dataset = cast(Any, content)
    coco.createIndex()
    found = coco.loadAnns(coco.getAnnIds(imgIds=[1]))
    assert len(found) == 2
    for annotation, mask in zip(found, (one, two), strict=True):
        np.testing.assert_array_equal(coco.annToMask(annotation).astype(bool), mask.mask)
        assert (annotation["area"], annotation["iscrowd"]) == (mask.area, 0)
