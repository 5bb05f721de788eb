"""Every adapter's work grows with its file, and no faster: what is n times as long costs n times.

A file of one kind of thing is read at two sizes, one eight times the other. Work that grows with
the square is then 64 times as much; the limit lies between. Processor time is compared with itself.
"""

import base64
import io
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sa_engine.dataset.sources.source_list import Source, SourceList
from sa_engine.formats.detect import open_annotations
from sa_engine.formats.registry import Format
from sa_engine.pipelines.stages.matching import match

TIMES = 8
MOST = 24
SIDE = 16
RING = [1, 1, 9, 1, 9, 9, 1, 9]
POINTS = [[1, 1], [9, 1], [9, 9], [1, 9]]


def coco(path: Path, **content: Any) -> Path:
    image = {"id": 1, "file_name": "a.png", "width": SIDE, "height": SIDE}
    known = {"images": [image], "annotations": [], "categories": []}
    (path / "a.json").write_text(json.dumps({**known, **content}))
    return path / "a.json"


def annotation(k: int, **more: Any) -> dict[str, Any]:
    return {"id": k, "image_id": 1, "category_id": 1, "segmentation": [RING], **more}


def coco_annotations(path: Path, n: int) -> Path:
    return coco(path, annotations=[annotation(k) for k in range(n)])


def coco_orphans(path: Path, n: int) -> Path:
    return coco(path, annotations=[annotation(k, image_id=k + 2) for k in range(n)])


def coco_images(path: Path, n: int) -> Path:
    return coco(path, images=[{"id": k, "file_name": f"d{k % 9}/{k}.png"} for k in range(n)])


def coco_one_name(path: Path, n: int) -> Path:
    return coco(path, images=[{"id": k, "file_name": "a.png"} for k in range(n)])


def coco_categories(path: Path, n: int) -> Path:
    return coco(path, categories=[{"id": k, "name": f"c{k}"} for k in range(n)])


def coco_points(path: Path, n: int) -> Path:
    ring = [value for k in range(20 * n) for value in (k % SIDE, (k * 7) % SIDE)]
    return coco(path, annotations=[annotation(1, segmentation=[ring])])


def coco_fields(path: Path, n: int) -> Path:
    return coco(path, annotations=[annotation(1, **{f"f{k}": k for k in range(n)})])


def cvat(path: Path, body: str, meta: str = "") -> Path:
    (path / "a.xml").write_text(
        f"<annotations><version>1.1</version><meta><task>{meta}</task></meta>"
        f'<image id="0" name="a.png" width="{SIDE}" height="{SIDE}">{body}</image></annotations>'
    )
    return path / "a.xml"


MASK = '<mask label="x" rle="0, 4" left="1" top="1" width="2" height="2"'


def cvat_attributes(path: Path, n: int) -> Path:
    inside = "".join(f'<attribute name="a{k}">v</attribute>' for k in range(n))
    return cvat(path, f"{MASK}>{inside}</mask>")


def cvat_xml_attributes(path: Path, n: int) -> Path:
    return cvat(path, MASK + "".join(f' a{k}="{"v" * 40}"' for k in range(10 * n)) + "/>")


def cvat_shapes(path: Path, n: int) -> Path:
    shape = '<polygon label="x" group_id="{}" points="1,1;9,1;9,9"/>'
    return cvat(path, "".join(shape.format(k // 2) for k in range(n)))


def cvat_labels(path: Path, n: int) -> Path:
    labels = "".join(f"<label><name>l{k}</name></label>" for k in range(n))
    return cvat(path, "", f"<labels>{labels}</labels>")


def task(k: int, regions: list[Any], **data: str) -> dict[str, Any]:
    return {"id": k, "data": data or {"image": f"{k}.png"}, "annotations": [{"result": regions}]}


def region(k: int, **more: Any) -> dict[str, Any]:
    value = {"points": POINTS, "polygonlabels": ["x"]}
    sides = {"original_width": SIDE, "original_height": SIDE}
    return {"id": f"r{k}", "type": "polygonlabels", "value": value, **sides, **more}


def tasks(path: Path, content: list[Any]) -> Path:
    (path / "a.json").write_text(json.dumps(content))
    return path / "a.json"


def label_studio_tasks(path: Path, n: int) -> Path:
    return tasks(path, [task(k, [region(0)]) for k in range(n)])


def label_studio_regions(path: Path, n: int) -> Path:
    return tasks(path, [task(0, [region(k) for k in range(n)])])


def label_studio_pictures(path: Path, n: int) -> Path:
    names = {f"image{k}": f"{k}.png" for k in range(n // 4)}
    regions = [region(k, to_name=f"image{k}") for k in range(n // 4)]
    return tasks(path, [task(0, regions, **names)])


def labelme_shapes(path: Path, n: int) -> Path:
    shape = {"label": "x", "points": POINTS, "shape_type": "polygon"}
    shapes = [{**shape, "group_id": k // 2} for k in range(n)]
    content = {"imagePath": "a.png", "imageWidth": SIDE, "imageHeight": SIDE, "shapes": shapes}
    (path / "a.json").write_text(json.dumps(content))
    return path


def labelme_masks(path: Path, n: int) -> Path:
    buffer = io.BytesIO()
    Image.new("1", (4, 4), 1).save(buffer, "PNG")
    code = base64.b64encode(buffer.getvalue()).decode()
    shape = {"label": "x", "points": [[1, 1], [4, 4]], "shape_type": "mask", "mask": code}
    content = {"imagePath": "a.png", "shapes": [shape] * (n // 4)}
    (path / "a.json").write_text(json.dumps(content))
    return path


def yolo_rows(path: Path, n: int) -> Path:
    (path / "labels").mkdir()
    (path / "labels" / "a.txt").write_text("0 .1 .1 .6 .1 .6 .6\n" * n)
    (path / "data.yaml").write_text("names: [x]\n")
    return path


def datumaro_annotations(path: Path, n: int) -> Path:
    each = {"type": "polygon", "label_id": 0, "points": RING}
    annotations = [{**each, "id": k, "group": k // 2} for k in range(n)]
    item = {"id": "a", "annotations": annotations, "image": {"path": "a.png", "size": [SIDE, SIDE]}}
    labels = {"label": {"labels": [{"name": f"c{k}"} for k in range(n)]}}
    (path / "annotations").mkdir()
    content = {"items": [item], "categories": labels}
    (path / "annotations" / "default.json").write_text(json.dumps(content))
    return path


def sa1b_annotations(path: Path, n: int) -> Path:
    rle = {"size": [SIDE, SIDE], "counts": [17, 4, SIDE * SIDE - 21]}
    image = {"image_id": 1, "file_name": "a.jpg", "width": SIDE, "height": SIDE}
    records = [{"id": k, "segmentation": rle} for k in range(n)]
    (path / "a.json").write_text(json.dumps({"image": image, "annotations": records}))
    return path


def map_objects(path: Path, n: int) -> Path:
    (path / "masks").mkdir()
    values = np.arange(SIDE * n // 2, dtype=np.uint16).reshape(-1, SIDE)
    values = np.minimum(values, n)  # n objects of a pixel
    Image.fromarray(values).save(path / "masks" / "a.png")
    return path


CASES: list[tuple[Format, Callable[[Path, int], Path]]] = [
    *((Format.COCO, make) for make in (coco_annotations, coco_orphans, coco_images, coco_one_name)),
    *((Format.COCO, make) for make in (coco_categories, coco_points, coco_fields)),
    *((Format.CVAT, make) for make in (cvat_attributes, cvat_xml_attributes, cvat_shapes)),
    (Format.CVAT, cvat_labels),
    *((Format.LABEL_STUDIO, make) for make in (label_studio_tasks, label_studio_regions)),
    (Format.LABEL_STUDIO, label_studio_pictures),
    *((Format.LABELME, make) for make in (labelme_shapes, labelme_masks)),
    (Format.YOLO_SEG, yolo_rows),
    (Format.DATUMARO, datumaro_annotations),
    (Format.SA_1B, sa1b_annotations),
    (Format.MASKS, map_objects),
]


def seconds(kind: Format, path: Path, n: int) -> float:
    """Processor time to open a source, match its images, and read the first of them."""
    start = time.process_time()
    source = open_annotations(path, kind)
    names = [Source(f"d{k % 9}/{k}.png", f"d{k % 9}/{k}.png") for k in range(n)]
    match(source, SourceList.of([Source("a.png", "a.png"), *names]))
    source.read(0, source.size_hw(0) or (SIDE, SIDE))
    return time.process_time() - start


@pytest.mark.parametrize(("kind", "make"), CASES, ids=lambda each: getattr(each, "__name__", ""))
def test_what_is_eight_times_as_long_costs_eight_times(
    tmp_path: Path, kind: Format, make: Callable[[Path, int], Path]
) -> None:
    n = 250
    folders = [tmp_path / "small", tmp_path / "large"]
    paths = []
    for folder, count in zip(folders, (n, TIMES * n), strict=True):
        folder.mkdir()
        paths.append(make(folder, count))
    seconds(kind, paths[0], n)  # what is imported or compiled on first use
    small = min(seconds(kind, paths[0], n) for _ in range(3))
    large = min(seconds(kind, paths[1], TIMES * n) for _ in range(2))
    assert large < MOST * small + 0.02
