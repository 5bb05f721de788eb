"""Turned pictures: which frame masks were drawn in, by everything that their file says."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sa_engine.dataset.reader import Dataset
from sa_engine.masks.rle import decode, encode
from sa_engine.pipelines.stages.manual import ImportRun, run_import
from tests.support.drawing import save_picture

W, H = 400, 300
"""Sides of the stored pictures; upright they are 300 wide and 400 high."""

BOX = [[60, 90, 240, 90, 240, 150, 60, 150]]
"""A rectangle on the upright picture."""


def coco(folder: Path, images: list[dict[str, Any]], **more: Any) -> Path:
    annotations = [
        {"id": k, "image_id": image["id"], "category_id": 1, "segmentation": image.pop("drawn")}
        for k, image in enumerate(images, start=1)
    ]
    content = {"images": images, "annotations": annotations, "categories": [], **more}
    (folder / "instances.json").write_text(json.dumps(content))
    return folder / "instances.json"


def masks(annotations: Path, out: Path) -> list[Any]:
    run_import(ImportRun(annotations=annotations, out=out))
    return [decode(mask.segmentation) for r in Dataset(out) for mask in r.annotations]


def expected() -> Any:
    mask = np.zeros((W, H), bool)
    mask[90:150, 60:240] = True
    return mask


@pytest.mark.parametrize("suffix", ["jpg", "webp", "png", "avif"])
def test_both_exports_of_one_tool_give_the_same_mask(tmp_path: Path, suffix: str) -> None:
    name = f"a.{suffix}"
    save_picture(tmp_path / "images" / name, (W, H), exif=6)
    points = [[20.0, 22.5], [80.0, 22.5], [80.0, 37.5], [20.0, 37.5]]
    region = {
        "id": "r1", "type": "polygonlabels", "original_width": H, "original_height": W,
        "image_rotation": 0, "value": {"points": points, "polygonlabels": ["leaf"]},
    }  # fmt: skip
    task = {"id": 1, "data": {"image": f"upload/{name}"}, "annotations": [{"result": [region]}]}
    (tmp_path / "tasks.json").write_text(json.dumps([task]))
    own = masks(tmp_path / "tasks.json", tmp_path / "own")
    np.testing.assert_array_equal(own[0], expected())

    # Its COCO export multiplies the same shares by the sides of the stored picture.
    ring = [v * side / 100 for x, y in points for v, side in ((x, W), (y, H))]
    image = {"id": 0, "file_name": f"upload/{name}", "width": W, "height": H, "drawn": [ring]}
    path = coco(tmp_path, [image], info={"contributor": "Label Studio"})
    np.testing.assert_array_equal(masks(path, tmp_path / "coco")[0], own[0])
    said = Dataset(tmp_path / "coco")[0].attributes["import"]
    assert said["frame"] == "stretched" and "stretched-upright" in said["repaired"]


def test_what_fits_the_upright_picture_alone_was_drawn_on_it(tmp_path: Path) -> None:
    save_picture(tmp_path / "images" / "a.jpg", (W, H), exif=6)
    low = [[60, 310, 240, 310, 240, 390, 60, 390]]  # below the stored picture
    image = {"id": 1, "file_name": "a.jpg", "width": W, "height": H, "drawn": low}
    found = masks(coco(tmp_path, [image]), tmp_path / "out")[0]
    assert found.shape == (W, H) and found[310:390, 60:240].all() and found.sum() == 80 * 180


@pytest.mark.parametrize(("others_are_upright", "row"), [(True, 0), (False, -1)])
def test_a_half_turn_goes_by_the_other_pictures(
    tmp_path: Path, others_are_upright: bool, row: int
) -> None:
    save_picture(tmp_path / "images" / "half.jpg", (W, H), exif=3)
    save_picture(tmp_path / "images" / "quarter.jpg", (W, H), exif=6)
    top = [[0, 0, W, 0, W, 10, 0, 10]]
    sides = (H, W) if others_are_upright else (W, H)
    quarter = {"width": sides[0], "height": sides[1], "drawn": [[5, 5, 50, 5, 50, 50, 5, 50]]}
    path = coco(
        tmp_path,
        [
            {"id": 1, "file_name": "half.jpg", "width": W, "height": H, "drawn": top},
            {"id": 2, "file_name": "quarter.jpg", **quarter},
        ],
    )
    found = masks(path, tmp_path / "out")[0]
    assert found[row].all() and found.sum() == 10 * W


def test_records_whose_own_box_or_area_differs_are_counted(tmp_path: Path) -> None:
    save_picture(tmp_path / "images" / "a.png", (60, 40))
    mask = np.zeros((40, 60), bool)
    mask[5:15, 30:55] = True
    right = {"bbox": [30, 5, 25, 10], "area": 250}
    rle = encode(mask).to_coco()
    flat = np.concatenate(([False], mask.reshape(-1)))
    starts = np.flatnonzero(flat[1:] != flat[:-1])
    by_rows = [int(n) for n in np.diff(np.concatenate(([0], starts, [mask.size])))]
    records = [
        {"segmentation": rle, **right},
        {"segmentation": {"size": [40, 60], "counts": by_rows}, **right},
        {"segmentation": rle, **right, "area": 900},
        {"segmentation": [[30, 5, 55, 5, 55, 15, 30, 15]], **right},
    ]
    content = {
        "images": [{"id": 1, "file_name": "a.png", "width": 60, "height": 40}],
        "categories": [],
        "annotations": [{"id": k, "image_id": 1, **r} for k, r in enumerate(records, start=1)],
    }
    (tmp_path / "instances.json").write_text(json.dumps(content))
    report = run_import(
        ImportRun(annotations=tmp_path / "instances.json", out=tmp_path / "out")
    ).report
    assert report is not None
    repaired = report["masks"]["repaired"]
    assert repaired["own-box-differs"] == {"count": 1, "examples": ["a.png: annotation 2"]}
    assert repaired["own-area-differs"] == {"count": 1, "examples": ["a.png: annotation 3"]}
