"""The viewer's files hold every mask, load nothing from elsewhere, and stay what they are."""

import base64
import json
import re
from typing import Any

import numpy as np

from sa_engine.dataset.records import ImageRecord, ImageStatus
from sa_engine.report.viewer.page import ViewerColumns, ViewerImage, folder_of, viewer_page
from tests.support.drawing import grid
from tests.support.written import mask_record

EVIL = "</script><script>alert(1)</script><!--"


def record(image_id: int, *masks: Any, source: str = "a.jpg") -> ImageRecord:
    return ImageRecord(
        image_id=image_id,
        file_name=f"sa_{image_id}.jpg",
        source=source,
        width=4,
        height=3,
        sha256="",
        annotations=masks,
    )


SMALL = mask_record(grid("....", ".##.", "...."), predicted_iou=0.9, stability_score=0.0)
LARGE = mask_record(grid("####", "####", "...."), category="sky")


def content(script: str) -> Any:
    found = re.fullmatch(r"dataset\.\w+\((.*)\);\n", script)
    assert found
    return json.loads(f"[{found[1]}]")


def numbers(text: str, kind: str) -> list[int]:
    found: list[int] = np.frombuffer(base64.b64decode(text), dtype=kind).tolist()
    return found


def test_columns_and_masks_of_one_set() -> None:
    columns = ViewerColumns("t", ["one"])
    script = columns.add(ViewerImage(key="7", records=(record(7, SMALL, LARGE),), suffix=".jpg"))
    failed = ImageRecord(
        image_id=8,
        file_name="",
        source="b.jpg",
        width=0,
        height=0,
        sha256="",
        status=ImageStatus.FAILED,
        error="truncated: it ends",
    )
    columns.add(ViewerImage(key="8", records=(failed,)))
    key, sets = content(script)
    assert key == "7"
    assert [mask["id"] for mask in sets[0]] == [7_000_001, 7_000_002]
    # A score of 0 is a score; one that is not there is left out.
    assert sets[0][0]["stability"] == 0.0
    assert "iou" not in sets[0][1]
    (data,) = content(columns.data("half of it"))
    assert data["note"] == "half of it"
    assert (data["keys"], data["reason"], data["reasons"]) == (["7", "8"], [-1, 0], ["truncated"])
    assert data["errors"] == {"1": "truncated: it ends"}
    assert (data["photos"], data["widths"], data["heights"]) == ([".jpg", ""], [4, 0], [3, 0])
    (table,) = data["tables"]
    assert numbers(table["first"], "<u4") == [0, 2, 2]
    assert numbers(table["area"], "<u4") == [2, 8]
    assert numbers(table["iou"], "<u2") == [9000, 65535]
    assert numbers(table["stability"], "<u2") == [0, 65535]
    assert numbers(table["category"], "<u2") == [65535, 0]
    assert data["categories"] == ["sky"]


def test_matches_of_two_sets() -> None:
    columns = ViewerColumns("t", ["one", "two"])
    image = ViewerImage(
        key="1", records=(record(1, SMALL, LARGE), record(5, LARGE)), matches=((1, 0, 0.75),)
    )
    _, sets = content(columns.add(image))
    assert "match" not in sets[0][0]
    assert sets[0][1]["match"] == [0, 0.75]
    assert sets[1][0]["match"] == [1, 0.75]
    (data,) = content(columns.data())
    assert numbers(data["tables"][0]["match"], "<u2") == [65535, 7500]
    assert numbers(data["tables"][1]["match"], "<u2") == [7500]


def test_nothing_breaks_out_of_a_script_or_is_loaded_from_elsewhere() -> None:
    columns = ViewerColumns(EVIL, ["one"])
    script = columns.add(ViewerImage(key="1", records=(record(1, SMALL, source=EVIL),)))
    page = viewer_page(EVIL)
    for text in (script, columns.data(EVIL)):
        assert "<" not in text
    assert "<script>alert" not in page
    assert "{{" not in page
    assert re.findall(r'(?:src|href)="([^"]*)"', page) == ["data.js"]
    assert not re.search(r"https?://", page)


def test_a_thousand_images_a_folder() -> None:
    assert [folder_of(key) for key in ("1", "999", "1000", "b12345")] == [
        "images/0",
        "images/0",
        "images/1",
        "images/12",
    ]
