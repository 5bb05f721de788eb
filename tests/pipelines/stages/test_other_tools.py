"""What other tools write: each kind of file with its right value, as an import gives it."""

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sa_engine.dataset.reader import Dataset
from sa_engine.dataset.records import ImageRecord
from sa_engine.errors import UsageError
from sa_engine.formats.registry import Format
from sa_engine.pipelines.stages.manual import ImportRun, run_import
from tests.support.drawing import save_picture

WIDTH, HEIGHT = SIZE_WH = (60, 40)
SQUARE = [[10, 10, 14, 10, 14, 14, 10, 14]]


def imported(path: Path, **options: Any) -> tuple[dict[str, ImageRecord], dict[str, Any]]:
    """An import's images by name, and its report."""
    out = path.parent / f"{path.name}-dataset"
    summary = run_import(ImportRun(annotations=path, out=out, **options))
    assert summary.report is not None
    records = {record.source: record for record in Dataset(out)}
    return records, {"kind": summary.format, **summary.report}


def counts(tally: dict[str, Any]) -> dict[str, int]:
    return {reason: entry["count"] for reason, entry in tally.items()}


def region_count(report: dict[str, Any]) -> int:
    lost = sum(counts(report["masks"]["dropped"]).values())
    return int(report["masks"]["kept"] + report["boxes"]["without_masks"] + lost)


def write_json(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def coco(*annotations: dict[str, Any], name: str = "a.jpg", **further: Any) -> dict[str, Any]:
    image = {"id": 1, "file_name": name, "width": WIDTH, "height": HEIGHT}
    numbered = [{"id": n, "image_id": 1, "category_id": 1, **a} for n, a in enumerate(annotations)]
    names = [{"id": 1, "name": "cat"}]
    return {"images": [image], "categories": names, "annotations": numbered, **further}


def png_bytes(pixels: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def painted(*colours: tuple[int, int, int], background: tuple[int, int, int] = (0, 0, 0)) -> Any:
    """A map in colours: 25x10 pixels of each, one below the other."""
    pixels = np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8)
    pixels[:] = background
    for place, colour in enumerate(colours):
        pixels[10 * place : 10 * place + 10, 15:40] = colour
    return pixels


# --- Label Studio


def region(kind: str, value: dict[str, Any], **further: Any) -> dict[str, Any]:
    return {
        "id": f"r{kind}",
        "type": kind,
        "from_name": "label",
        "to_name": "image",
        "original_width": WIDTH,
        "original_height": HEIGHT,
        "image_rotation": 0,
        "value": value,
        **further,
    }


def box(**further: Any) -> dict[str, Any]:
    place = {"x": 10, "y": 10, "width": 20, "height": 20, "rectanglelabels": ["cat"]}
    return region("rectanglelabels", place, **further)


def triangle(x: float = 0, **further: Any) -> dict[str, Any]:
    points = [[x, 0], [x + 20, 0], [x + 20, 50]]
    return region("polygonlabels", {"points": points, "polygonlabels": ["cat"]}, **further)


def tasks(path: Path, *results: dict[str, Any], data: Any = None, **further: Any) -> Path:
    task = {"id": 1, "data": data or {"image": "a.jpg"}, "annotations": [{"result": results}]}
    return write_json(path / "tasks.json", [{**task, **further}])


def test_label_studio_bitmasks_are_masks(tmp_path: Path) -> None:
    save_picture(tmp_path / "a.jpg", SIZE_WH)
    pixels = np.zeros((HEIGHT, WIDTH, 4), dtype=np.uint8)
    pixels[10:20, 15:40, 3] = 255
    url = "data:image/png;base64," + base64.b64encode(png_bytes(pixels)).decode()
    value = {"imageDataURL": url, "bitmasklabels": ["Person"]}
    records, report = imported(tasks(tmp_path, region("bitmasklabels", value)))

    (mask,) = records["a.jpg"].annotations
    assert (mask.area, mask.bbox_xywh, mask.category) == (250, (15, 10, 25, 10), "Person")
    assert region_count(report) == 1


@pytest.mark.parametrize(
    ("result", "dropped"),
    [
        (region("hologramlabels", {"frequency": 3}), {"unknown-shape": 1}),
        # A type of no list, with a geometry that is known.
        (region("lassolabels", {"points": [[0, 0], [20, 0], [20, 50]]}), {}),
        (region("vectorlabels", {"vertices": [{"x": 1, "y": 1}]}), {"unsupported-shape": 1}),
        (region("bitmasklabels", {"imageDataURL": "data:,"}), {"bad-shape": 1}),
        ({"id": "x", "value": {}}, {"unknown-shape": 1}),
    ],
)
def test_every_result_of_label_studio_is_counted(
    tmp_path: Path, result: dict[str, Any], dropped: dict[str, int]
) -> None:
    save_picture(tmp_path / "a.jpg", SIZE_WH)
    _, report = imported(tasks(tmp_path, result))

    assert counts(report["masks"]["dropped"]) == dropped
    assert report["masks"]["kept"] == 1 - len(dropped)


def test_label_studio_magic_wands_are_brushes(tmp_path: Path) -> None:
    from sa_engine.formats.codecs import brush

    save_picture(tmp_path / "a.jpg", SIZE_WH)
    pixels = np.zeros((HEIGHT, WIDTH), dtype=bool)
    pixels[10:20, 15:40] = True
    wand = region("magicwand", {"format": "rle", "rle": list(brush.encode(pixels))}, id="w")
    label = region("labels", {**wand["value"], "labels": ["sky"]}, id="w")
    records, report = imported(tasks(tmp_path, wand, label))

    (mask,) = records["a.jpg"].annotations
    assert (mask.area, mask.category) == (250, "sky")
    assert region_count(report) == 1


def test_label_studio_tasks_of_several_pictures(tmp_path: Path) -> None:
    """`to_name` and `item_index` say which picture a region is of; what neither says is lost."""
    for name in ("a.jpg", "b.jpg", "c.jpg", "d.jpg"):
        save_picture(tmp_path / name, SIZE_WH)
    data = {"left_image": "a.jpg", "right_image": "b.jpg", "pages": ["c.jpg", "d.jpg"]}
    path = tasks(
        tmp_path,
        triangle(to_name="left", id="1"),
        triangle(20, to_name="right", id="2"),
        triangle(40, to_name="right", id="3"),
        triangle(60, to_name="pages", item_index=1, id="4"),
        triangle(to_name="pages", item_index=7, id="5"),
        triangle(to_name="x", id="6"),
        data=data,
    )
    records, report = imported(path)

    def lefts(name: str) -> list[float]:
        return [mask.bbox_xywh[0] for mask in records[name].annotations]

    assert {name: lefts(name) for name in records} == {
        "a.jpg": [0],
        "b.jpg": [12, 24],
        "c.jpg": [],
        "d.jpg": [36],
    }
    assert counts(report["masks"]["dropped"]) == {"picture-not-told": 2}


def test_label_studio_links_that_are_no_picture_of_the_tag(tmp_path: Path) -> None:
    save_picture(tmp_path / "a.jpg", SIZE_WH)
    data = {"page": "http://example.org/about.jpg", "image": "a.jpg"}
    records, report = imported(tasks(tmp_path, triangle(to_name="img"), data=data))

    assert len(records["a.jpg"].annotations) == 1
    assert report["images"]["notes"] == {}


def test_one_task_alone_predictions_and_drafts(tmp_path: Path) -> None:
    save_picture(tmp_path / "a.jpg", SIZE_WH)
    task = {
        "id": 1,
        "data": {"image": "a.jpg"},
        "annotations": [{"result": [triangle(), {"type": "choices", "value": {"choices": ["x"]}}]}],
        "predictions": [{"result": [box(), triangle()]}],
        "drafts": [{"result": [triangle()]}],
    }
    records, report = imported(write_json(tmp_path / "task.json", task))

    assert report["kind"] is Format.LABEL_STUDIO
    assert counts(report["masks"]["dropped"]) == {"prediction": 2, "draft": 1}
    assert counts(report["beside"]) == {"tags": 1}
    assert records["a.jpg"].attributes["answers"] == {"choices": ["x"]}


# --- CVAT


POLYGON = '<polygon label="car" points="{x},5;{y},5;{y},20;{x},20" z_order="0"/>'
PROJECT = (
    "<meta><project><assignee><username>boss</username></assignee><tasks>"
    "<task><id>37</id><subset>Train</subset><assignee><username>anna</username></assignee></task>"
    "<task><id>38</id><subset>Test</subset><assignee><username>bert</username></assignee></task>"
    "</tasks></project></meta>"
)


def cvat(path: Path, *images: tuple[str, str], meta: str = PROJECT) -> Path:
    """A file of (attributes, content) images."""
    inside = "".join(
        f'<image id="{n}" width="{WIDTH}" height="{HEIGHT}" {attributes}>{content}</image>'
        for n, (attributes, content) in enumerate(images)
    )
    file = path / "annotations.xml"
    file.write_text(f"<annotations><version>1.1</version>{meta}{inside}</annotations>")
    return file


TWO_SUBSETS = (
    ('name="img0.jpg" subset="Train" task_id="37"', POLYGON.format(x=5, y=15)),
    ('name="img0.jpg" subset="Test" task_id="38"', POLYGON.format(x=35, y=45)),
)


def test_cvat_subsets_are_folders_and_tasks_have_assignees(tmp_path: Path) -> None:
    for subset in ("Train", "Test"):
        save_picture(tmp_path / "images" / subset / "img0.jpg", SIZE_WH)
    records, _ = imported(cvat(tmp_path, *TWO_SUBSETS))

    assert {
        name: [(mask.bbox_xywh[0], mask.annotator) for mask in record.annotations]
        for name, record in records.items()
    } == {"Train/img0.jpg": [(5, "anna")], "Test/img0.jpg": [(35, "bert")]}


def test_cvat_images_of_one_name_are_never_joined(tmp_path: Path) -> None:
    """One subset's folder is missing, then both are: no picture gets the other's masks."""
    save_picture(tmp_path / "images" / "Train" / "img0.jpg", SIZE_WH)
    records, report = imported(cvat(tmp_path, *TWO_SUBSETS))
    assert [len(record.annotations) for record in records.values()] == [1]
    assert counts(report["masks"]["dropped"]) == {"image-file-missing": 1}

    flat = tmp_path / "flat"
    save_picture(flat / "img0.jpg", SIZE_WH)
    save_picture(flat / "other.jpg", SIZE_WH)
    third = ('name="other.jpg" subset="Test" task_id="38"', POLYGON.format(x=5, y=9))
    records, report = imported(cvat(flat, *TWO_SUBSETS, third))
    assert list(records) == ["other.jpg"]
    assert counts(report["masks"]["dropped"]) == {"image-file-shared": 2}


def test_cvat_frames_have_no_suffix(tmp_path: Path) -> None:
    save_picture(tmp_path / "images" / "frame_000000.png", SIZE_WH)
    image = ('name="frame_000000"', POLYGON.format(x=5, y=9))
    records, _ = imported(cvat(tmp_path, image, meta=""))

    assert len(records["frame_000000.png"].annotations) == 1


def test_cvat_everything_in_an_image_is_counted(tmp_path: Path) -> None:
    save_picture(tmp_path / "a.jpg", SIZE_WH)
    square = POLYGON.format(x=5, y=15)
    grouped = square.replace("z_order", 'group_id="2" z_order')
    corners = 'xtl="5" ytl="5" xbr="15" ybr="20"'
    content = (
        f'{grouped}<box label="car" group_id="2" {corners}/><box label="car" {corners}/>'
        f'<box label="cat" group_id="3" {corners}/><box label="cat" group_id="3" {corners}/>'
        '<polyline label="car" points="1,1;2,2"/><hologram label="car"/><tag label="dark"/>'
    )
    records, report = imported(cvat(tmp_path, ('name="a.jpg"', content), meta=""))

    # The box of the polygon's group is that object's; boxes of a group of their own stay boxes.
    assert report["masks"]["kept"] == 1
    assert report["boxes"]["without_masks"] == 3
    assert counts(report["masks"]["dropped"]) == {"unsupported-shape": 1, "unknown-shape": 1}
    assert counts(report["beside"]) == {"tags": 1}
    assert records["a.jpg"].attributes["tags"] == ["dark"]


# --- YOLO


def yolo(path: Path, rows: str, **files: str) -> Path:
    save_picture(path / "images" / "train" / "1.jpg", SIZE_WH)
    (path / "labels" / "train").mkdir(parents=True)
    (path / "labels" / "train" / "1.txt").write_text(rows)
    for name, text in files.items():
        (path / name.replace("__", ".")).write_text(text)
    return path


@pytest.mark.parametrize("dims", [2, 3])
def test_yolo_pose_rows_are_boxes_with_key_points(tmp_path: Path, dims: int) -> None:
    points = " ".join(f"{0.2 + 0.05 * n} 0.3{' 2' * (dims - 2)}" for n in range(12))
    rows = f"0 0.5 0.5 0.6 0.6 {points}\n0 0.1 0.1 0.5 0.1 0.5 0.5\n"
    path = yolo(tmp_path, rows, data__yaml=f"kpt_shape: [12, {dims}]\nnames:\n  0: tiger\n")
    records, report = imported(path)

    (kept,) = records["images/train/1.jpg"].attributes["boxes"]
    assert kept["bbox"] == pytest.approx([12, 8, 36, 24])
    assert kept["category"] == "tiger"
    assert kept["keypoints"][:6] == pytest.approx([12, 12, 2, 15, 12, 2])
    assert (report["masks"]["kept"], report["boxes"]["without_masks"]) == (0, 1)
    assert counts(report["beside"]) == {"key-points": 12}
    # Rows of another length are told, and drawn as nothing.
    assert counts(report["masks"]["dropped"]) == {"not-an-annotation": 1}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("obj__names", "cat\ndog\n"),
        ("classes__txt", "cat\ndog\n"),
        ("notes__json", '{"categories": [{"id": 1, "name": "dog"}], "info": {}}'),
        ("data__yaml", "names: [cat, dog]\n"),
    ],
)
def test_yolo_class_names(tmp_path: Path, name: str, text: str) -> None:
    path = yolo(tmp_path, "1 0.1 0.1 0.5 0.1 0.5 0.5\n", **{name: text}, README__txt="About us.\n")
    records, report = imported(path)

    assert report["kind"] is Format.YOLO_SEG
    assert [mask.category for mask in records["images/train/1.jpg"].annotations] == ["dog"]


def test_yolo_labels_alone_know_their_data_set(tmp_path: Path) -> None:
    points = " ".join(["0.3 0.3"] * 6)
    path = yolo(tmp_path, f"0 0.5 0.5 0.6 0.6 {points}\n", data__yaml="kpt_shape: [6, 2]\n")
    for folder in ("labels", "labels/train"):
        _, report = imported(path / folder)
        assert report["boxes"]["without_masks"] == 1


def test_darknet_labels_lie_beside_their_pictures(tmp_path: Path) -> None:
    folder = tmp_path / "obj_train_data"
    save_picture(folder / "a.jpg", SIZE_WH)
    (folder / "a.txt").write_text("0 0.5 0.5 0.5 0.5\n0 0.5 0.5 0.5 0.5 0.9\n")
    (tmp_path / "obj.names").write_text("cat\n")
    (tmp_path / "obj.data").write_text("classes = 1\n")
    (tmp_path / "train.txt").write_text("data/obj_train_data/a.jpg\n")
    records, report = imported(tmp_path)

    assert (report["kind"], report["images"]["listed"]) == (Format.YOLO_SEG, 1)
    first, second = records["obj_train_data/a.jpg"].attributes["boxes"]
    assert (first["category"], second["score"]) == ("cat", 0.9)


# --- COCO


def test_coco_tree_with_splits(tmp_path: Path) -> None:
    """A file a split, images of one name in both, and captions of the same images."""
    for split, x in (("train2017", 10), ("val2017", 30)):
        square = [[x, 10, x + 4, 10, x + 4, 14, x, 14]]
        content = coco({"segmentation": square}, licenses=[{"id": 1, "name": split}])
        write_json(tmp_path / "annotations" / f"instances_{split}.json", content)
        captions = coco({"caption": "a cat"})
        write_json(tmp_path / "annotations" / f"captions_{split}.json", captions)
        save_picture(tmp_path / split / "a.jpg", SIZE_WH)
    records, report = imported(tmp_path)

    assert report["kind"] is Format.COCO
    assert {name: record.annotations[0].bbox_xywh[0] for name, record in records.items()} == {
        "train2017/a.jpg": 10,
        "val2017/a.jpg": 30,
    }
    assert counts(report["beside"]) == {"files-passed-over": 2}
    assert [each["name"] for each in report["about"]["licenses"]] == ["train2017", "val2017"]


def test_coco_files_beside_their_images(tmp_path: Path) -> None:
    """As Roboflow writes them; the name that was uploaded is looked for as well."""
    for split in ("train", "valid"):
        content = coco({"segmentation": SQUARE}, name="a_jpg.rf.0b1c.jpg")
        content["images"][0]["extra"] = {"name": "a.jpg"}
        write_json(tmp_path / split / "_annotations.coco.json", content)
        save_picture(tmp_path / split / "a.jpg", SIZE_WH)
        (tmp_path / split / "README.roboflow.txt").write_text("Exported\n")
    records, _ = imported(tmp_path)

    assert {name: len(record.annotations) for name, record in records.items()} == {
        "train/a.jpg": 1,
        "valid/a.jpg": 1,
    }


def test_coco_usual_folders(tmp_path: Path) -> None:
    path = write_json(
        tmp_path / "annotations" / "instances_train.json", coco({"segmentation": SQUARE})
    )
    save_picture(tmp_path / "images" / "train" / "a.jpg", SIZE_WH)

    for given in (tmp_path, path):
        records, report = imported(given)
        assert report["kind"] is Format.COCO
        assert records["train/a.jpg"].annotations[0].area == 16


def test_coco_names_without_a_suffix(tmp_path: Path) -> None:
    save_picture(tmp_path / "frame_000000.jpg", SIZE_WH)
    content = coco({"segmentation": SQUARE}, name="frame_000000")
    records, _ = imported(write_json(tmp_path / "instances.json", content))

    assert len(records["frame_000000.jpg"].annotations) == 1


def test_coco_captions_are_no_masks(tmp_path: Path) -> None:
    save_picture(tmp_path / "a.jpg", SIZE_WH)
    content = coco({"caption": "a cat"}, {"caption": "and a dog"})
    records, report = imported(write_json(tmp_path / "captions.json", content))

    assert records["a.jpg"].attributes["captions"] == ["a cat", "and a dog"]
    assert (counts(report["beside"]), report["masks"]["dropped"]) == ({"captions": 2}, {})


def test_coco_panoptic_segments_are_masks(tmp_path: Path) -> None:
    save_picture(tmp_path / "a.jpg", SIZE_WH)
    # 1 + 256 * 2 + 65536 * 3, and a segment that the picture does not have.
    segments = [{"id": 197121, "category_id": 1, "iscrowd": 0}, {"id": 9, "category_id": 1}]
    content = coco({"file_name": "a.png", "segments_info": segments})
    del content["annotations"][0]["category_id"]
    (tmp_path / "panoptic").mkdir()
    (tmp_path / "panoptic" / "a.png").write_bytes(png_bytes(painted((1, 2, 3), (7, 7, 7))))
    records, report = imported(write_json(tmp_path / "panoptic.json", content))

    (mask,) = records["a.jpg"].annotations
    assert (mask.area, mask.category, mask.attributes["source_id"]) == (250, "cat", 197121)
    assert counts(report["masks"]["dropped"]) == {"empty-mask": 1}


def test_coco_panoptic_without_its_maps(tmp_path: Path) -> None:
    save_picture(tmp_path / "a.jpg", SIZE_WH)
    content = coco({"file_name": "a.png", "segments_info": [{"id": 1}, {"id": 2}]})
    _, report = imported(write_json(tmp_path / "panoptic.json", content))

    assert counts(report["masks"]["dropped"]) == {"bad-file": 2}


def test_a_name_in_two_folders_is_ambiguous(tmp_path: Path) -> None:
    for split in ("train", "val"):
        save_picture(tmp_path / "images" / split / "a.jpg", SIZE_WH)
    path = write_json(tmp_path / "instances.json", coco({"segmentation": SQUARE}))

    with pytest.raises(UsageError, match=r"ambiguous.* train/a\.jpg and val/a\.jpg: give the fold"):
        imported(path)


def test_cvat_turns_coco_boxes_by_an_attribute(tmp_path: Path) -> None:
    save_picture(tmp_path / "a.jpg", SIZE_WH)
    turned = {"bbox": [10, 10, 20, 10], "attributes": {"rotation": 90.0}, "segmentation": []}
    records, _ = imported(write_json(tmp_path / "instances.json", coco(turned)))

    assert records["a.jpg"].annotations[0].bbox_xywh == (15, 5, 10, 20)


def test_key_points_turn_with_the_picture(tmp_path: Path) -> None:
    """A picture stored on its side, annotated as stored: pixel (50, 5) comes to lie at (34, 50)."""
    save_picture(tmp_path / "a.jpg", SIZE_WH, exif=6)
    points = [50, 5, 2, 0, 0, 0]
    given = {"bbox": [48, 2, 6, 8], "keypoints": points}
    path = write_json(tmp_path / "instances.json", coco(given, {**given, "segmentation": SQUARE}))
    records, _ = imported(path)

    record = records["a.jpg"]
    assert record.attributes["boxes"][0]["keypoints"] == [34, 50, 2, 0, 0, 0]
    assert record.annotations[0].attributes["keypoints"] == [34, 50, 2, 0, 0, 0]
    assert record.attributes["boxes"][0]["bbox"] == [30, 48, 8, 6]


# --- Datumaro and labelme


def test_a_box_of_a_masks_group_is_that_objects(tmp_path: Path) -> None:
    known = {"label_id": 0, "attributes": {}, "z_order": 0}
    annotations = [
        {"id": 1, "type": "polygon", "group": 1, "points": SQUARE[0], **known},
        {"id": 1, "type": "bbox", "group": 1, "bbox": [10, 10, 4, 4], **known},
        {"id": 2, "type": "bbox", "group": 0, "bbox": [20, 10, 4, 4], **known},
        {"id": 3, "type": "points", "group": 1, "points": [1, 1, 2], **known},
        {"id": 4, "type": "wave", "group": 0, **known},
        {"id": 5, "type": "label", "group": 0, **known},
        {"id": 6, "type": "caption", "caption": "a cat", "group": 0},
    ]
    size = {"path": "a.jpg", "size": [HEIGHT, WIDTH]}
    content = {
        "categories": {"label": {"labels": [{"name": "cat"}]}},
        "items": [{"id": "a", "annotations": annotations, "image": size}],
    }
    write_json(tmp_path / "annotations" / "default.json", content)
    save_picture(tmp_path / "images" / "default" / "a.jpg", SIZE_WH)
    records, report = imported(tmp_path)

    assert report["kind"] is Format.DATUMARO
    assert [mask.area for mask in records["default/a.jpg"].annotations] == [16]
    assert report["boxes"]["without_masks"] == 1
    assert counts(report["masks"]["dropped"]) == {"unsupported-shape": 1, "unknown-shape": 1}
    assert counts(report["beside"]) == {"tags": 1, "captions": 1}


def labelme(path: Path, name: str, *shapes: dict[str, Any]) -> Path:
    save_picture(path / f"{name}.jpg", SIZE_WH)
    known: dict[str, Any] = {"label": "cat", "group_id": None, "flags": {}, "mask": None}
    content = {
        "version": "6.3.1",
        "shapes": [{**known, **shape} for shape in shapes],
        "imagePath": f"{name}.jpg",
        "imageHeight": HEIGHT,
        "imageWidth": WIDTH,
    }
    return write_json(path / f"{name}.json", content)


CORNERS = [[10, 10], [14, 10], [14, 14], [10, 14]]


def test_labelme_is_told_by_all_files_of_a_folder(tmp_path: Path) -> None:
    labelme(tmp_path, "a")
    labelme(tmp_path, "b", {"shape_type": "polygon", "points": CORNERS})
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "classes.txt").write_text("cat\n")
    records, report = imported(tmp_path)

    assert report["kind"] is Format.LABELME
    assert {name: len(record.annotations) for name, record in records.items()} == {
        "a.jpg": 0,
        "b.jpg": 1,
    }


@pytest.mark.parametrize(
    ("kind", "kept", "dropped"),
    [
        ("oriented_rectangle", 1, {}),
        ("rotation", 1, {}),
        ("quadrilateral", 1, {}),
        ("linestrip", 0, {"unsupported-shape": 1}),
        ("spline", 0, {"unknown-shape": 1}),
    ],
)
def test_labelme_shapes(tmp_path: Path, kind: str, kept: int, dropped: dict[str, int]) -> None:
    labelme(tmp_path, "a", {"shape_type": kind, "points": CORNERS})
    _, report = imported(tmp_path)

    assert (report["masks"]["kept"], counts(report["masks"]["dropped"])) == (kept, dropped)


def test_a_rectangle_of_a_polygons_group_is_that_objects(tmp_path: Path) -> None:
    labelme(
        tmp_path,
        "a",
        {"shape_type": "polygon", "points": CORNERS, "group_id": 1},
        {"shape_type": "rectangle", "points": [[9, 9], [20, 20]], "group_id": 1},
        {"shape_type": "rectangle", "points": [[9, 9], [20, 20]], "group_id": 2},
    )
    records, report = imported(tmp_path)

    assert [mask.area for mask in records["a.jpg"].annotations] == [16]
    assert report["boxes"]["without_masks"] == 1


# --- Maps in colours


def test_voc_in_colours(tmp_path: Path) -> None:
    """Objects by their colour, classes by `labelmap.txt`; VOC's own colour of void is void."""
    lines = "# label:color_rgb:parts:actions\nbackground:0,0,0::\ncat:128,0,0::\ndog:0,128,0::\n"
    (tmp_path / "labelmap.txt").write_text(lines)
    for folder, pixels in (
        ("SegmentationObject", painted((128, 0, 0), (0, 128, 0), (224, 224, 192))),
        ("SegmentationClass", painted((0, 128, 0), (128, 0, 0), (224, 224, 192))),
    ):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.png").write_bytes(png_bytes(pixels))
    save_picture(tmp_path / "JPEGImages" / "a.jpg", SIZE_WH)
    records, report = imported(tmp_path)

    found = [(m.category, m.area, m.attributes["object"]) for m in records["a.jpg"].annotations]
    assert found == [("dog", 250, 1), ("cat", 250, 2)]
    assert report["masks"]["dropped"] == {}


def test_voc_with_class_maps_alone(tmp_path: Path) -> None:
    (tmp_path / "SegmentationClass").mkdir()
    pixels = png_bytes(painted((128, 0, 0), (0, 0, 128)))
    (tmp_path / "SegmentationClass" / "a.png").write_bytes(pixels)
    save_picture(tmp_path / "JPEGImages" / "a.jpg", SIZE_WH)
    records, _ = imported(tmp_path)

    # The first and the fourth colour of VOC's palette.
    assert [mask.category for mask in records["a.jpg"].annotations] == ["aeroplane", "boat"]


def test_camvid(tmp_path: Path) -> None:
    (tmp_path / "label_colors.txt").write_text("0 0 0 Void\n64 128 64 Animal\n192 0 128 Arch way\n")
    (tmp_path / "trainannot").mkdir()
    pixels = painted((192, 0, 128), (64, 128, 64), (1, 2, 3))
    (tmp_path / "trainannot" / "a.png").write_bytes(png_bytes(pixels))
    save_picture(tmp_path / "train" / "a.png", SIZE_WH)
    records, report = imported(tmp_path)

    assert report["kind"] is Format.MASKS
    masks = records["train/a.png"].annotations
    tops = {mask.category: mask.bbox_xywh[1] for mask in masks}
    assert tops == {"Animal": 10, "Arch way": 0, None: 20}
    assert counts(report["masks"]["repaired"]) == {"unknown-category": 1}


def test_lists_of_classes_without_colours(tmp_path: Path) -> None:
    """As Datumaro writes them beside maps of numbers, and KITTI's numbers of class and object."""
    numbers = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    numbers[:10, 15:40] = 2
    voc = tmp_path / "voc"
    for folder, pixels in (("SegmentationObject", numbers // 2), ("SegmentationClass", numbers)):
        (voc / folder).mkdir(parents=True)
        (voc / folder / "a.png").write_bytes(png_bytes(pixels))
    (voc / "labelmap.txt").write_text("# label:color_rgb\nbackground:::\ncat:::\ndog:::\n")
    save_picture(voc / "JPEGImages" / "a.jpg", SIZE_WH)
    kitti = tmp_path / "kitti"
    (kitti / "instance").mkdir(parents=True)
    coded = numbers.astype(np.uint16) * 256 + (numbers > 0)
    (kitti / "instance" / "a.png").write_bytes(png_bytes(coded))
    (kitti / "label_colors.txt").write_text(" background\n cat\n dog\n")
    save_picture(kitti / "image_2" / "a.png", SIZE_WH)

    for path, name in ((voc, "a.jpg"), (kitti, "image_2/a.png")):
        records, _ = imported(path)
        found = [(mask.category, mask.area) for mask in records[name].annotations]
        assert found == [("dog", 250)]


def test_cityscapes(tmp_path: Path) -> None:
    numbers = np.zeros((HEIGHT, WIDTH), dtype=np.uint16)
    numbers[:10, 15:40] = 26001
    folder = tmp_path / "gtFine" / "train" / "ulm"
    folder.mkdir(parents=True)
    for kind, pixels in (("instanceIds", numbers), ("labelIds", numbers // 1000)):
        (folder / f"x_gtFine_{kind}.png").write_bytes(png_bytes(pixels))
    save_picture(tmp_path / "leftImg8bit" / "train" / "ulm" / "x_leftImg8bit.png", SIZE_WH)
    records, _ = imported(tmp_path)

    (mask,) = records["leftImg8bit/train/ulm/x_leftImg8bit.png"].annotations
    assert (mask.area, mask.attributes["object"]) == (250, 26001)


def voc_xml(folder: Path, name: str, *objects: str) -> None:
    inside = "".join(f"<object><name>cat</name>{each}</object>" for each in objects)
    size = f"<size><width>{WIDTH}</width><height>{HEIGHT}</height></size>"
    folder.mkdir(parents=True, exist_ok=True)
    content = f"<annotation><filename>{name}.jpg</filename>{size}{inside}</annotation>"
    (folder / f"{name}.xml").write_text(content)


def corners(left: int, top: int, right: int, bottom: int) -> str:
    values = zip(("xmin", "ymin", "xmax", "ymax"), (left, top, right, bottom), strict=True)
    return f"<bndbox>{''.join(f'<{key}>{value}</{key}>' for key, value in values)}</bndbox>"


def test_voc_boxes_beside_the_maps(tmp_path: Path) -> None:
    """A box around a mask is that object's; another is a box without a mask."""
    pixels = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    pixels[10:20, 15:40] = 1
    (tmp_path / "SegmentationObject").mkdir()
    (tmp_path / "SegmentationObject" / "a.png").write_bytes(png_bytes(pixels))
    own, other = corners(16, 11, 40, 20), corners(41, 1, 50, 9)
    voc_xml(tmp_path / "Annotations", "a", own, other)
    voc_xml(tmp_path / "Annotations", "without_map", own)
    save_picture(tmp_path / "JPEGImages" / "a.jpg", SIZE_WH)
    records, report = imported(tmp_path)

    assert (report["masks"]["kept"], report["boxes"]["without_masks"]) == (1, 1)
    assert records["a.jpg"].attributes["boxes"][0]["bbox"] == [40, 0, 10, 9]
    assert counts(report["beside"]) == {"files-passed-over": 1}


def test_voc_files_without_maps(tmp_path: Path) -> None:
    ring = "".join(
        f"<x{n}>{x + 1}</x{n}><y{n}>{y + 1}</y{n}>" for n, (x, y) in enumerate(CORNERS, 1)
    )
    polygon = f"{corners(11, 11, 14, 14)}<polygon>{ring}</polygon>"
    voc_xml(tmp_path / "Annotations", "a", polygon, corners(41, 1, 50, 9), "<bndbox/>")
    save_picture(tmp_path / "JPEGImages" / "a.jpg", SIZE_WH)
    records, report = imported(tmp_path)

    assert report["kind"] is Format.VOC
    assert [mask.area for mask in records["a.jpg"].annotations] == [16]
    assert report["boxes"]["without_masks"] == 1
    assert counts(report["masks"]["dropped"]) == {"bad-shape": 1}


def test_maps_in_any_colours(tmp_path: Path) -> None:
    (tmp_path / "masks").mkdir()
    pixels = png_bytes(painted((1, 2, 3), (200, 100, 50)))
    (tmp_path / "masks" / "a.png").write_bytes(pixels)
    save_picture(tmp_path / "images" / "a.jpg", SIZE_WH)
    records, _ = imported(tmp_path)

    colours = {mask.attributes["colour"] for mask in records["a.jpg"].annotations}
    assert colours == {"#010203", "#c86432"}


def test_a_picture_is_no_map(tmp_path: Path) -> None:
    save_picture(tmp_path / "masks" / "a.png", SIZE_WH)
    save_picture(tmp_path / "images" / "a.jpg", SIZE_WH)
    _, report = imported(tmp_path, format=Format.MASKS)

    assert counts(report["masks"]["dropped"]) == {"not-a-map": 1}
    with pytest.raises(UsageError, match="rather than a map"):
        imported(tmp_path)


# --- Telling formats


def test_a_folder_of_two_formats_is_told_with_both(tmp_path: Path) -> None:
    labelme(tmp_path, "a", {"shape_type": "polygon", "points": CORNERS})
    write_json(tmp_path / "all.json", coco({"segmentation": SQUARE}))

    with pytest.raises(UsageError, match=r"of labelme \(a\.json\) and 1 of coco \(all\.json\)"):
        imported(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([{"image_id": 1, "segmentation": {}, "score": 1}], "COCO results, which does not name"),
        ([{"image": "a.jpg", "label": [{"original_width": 8}]}], r"JSON-MIN\): export"),
        ({"_via_settings": {}}, "VGG Image Annotator"),
    ],
)
def test_files_that_are_not_read_are_named(tmp_path: Path, content: Any, message: str) -> None:
    path = write_json(tmp_path / "in" / "x.json", content)
    save_picture(tmp_path / "in" / "a.jpg", SIZE_WH)
    for given in (path, path.parent):
        with pytest.raises(UsageError, match=message):
            imported(given)
