"""The page is one file that needs nothing else, and nothing in a dataset can break out of it."""

import json
import re

import numpy as np

from sa_engine.dataset.records import ImageRecord, MaskRecord, Stage
from sa_engine.masks.rle import encode
from sa_engine.report.gallery import GalleryEntry, gallery_page


def entry(source: str) -> GalleryEntry:
    mask = np.zeros((4, 6), dtype=bool)
    mask[1:3, 2:5] = True
    record = ImageRecord(
        image_id=7,
        file_name="sa_7.jpg",
        source=source,
        width=6,
        height=4,
        sha256="",
        annotations=(
            MaskRecord(
                segmentation=encode(mask),
                bbox_xywh=(2, 1, 3, 2),
                area=6,
                stage=Stage.AUTOMATIC,
                predicted_iou=0.9,
                stability_score=0.97,
                crop_box_xywh=(0, 0, 6, 4),
            ),
        ),
    )
    return GalleryEntry(record, np.zeros((4, 6, 3), dtype=np.uint8))


def test_the_page_carries_every_mask() -> None:
    page = "".join(gallery_page("demo", [entry("a.jpg")]))
    added = re.findall(r"^add\((.*)\);$", page, re.MULTILINE)
    (data,) = [json.loads(text) for text in added]
    assert data["size"] == [4, 6]
    assert data["masks"][0]["id"] == 7_000_001
    assert data["masks"][0]["area"] == 6
    assert data["photo"].startswith("data:image/jpeg;base64,")


def test_nothing_is_loaded_from_elsewhere() -> None:
    page = "".join(gallery_page("demo", [entry("a.jpg")]))
    assert not re.search(r"https?://|\ssrc=|\shref=", page)


def test_names_cannot_break_out_of_the_page() -> None:
    page = "".join(gallery_page("<b>", [entry("</script><script>alert(1)</script><!--")]))
    assert "<script>alert" not in page
    assert "<!--" not in page
    assert "<title>&lt;b&gt;</title>" in page
