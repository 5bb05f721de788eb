"""What goes out beside the masks, and what other tools' own rasterisers make of an export."""

import json
import tarfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from PIL import Image, ImageDraw

from sa_engine.dataset.reader import Dataset
from sa_engine.formats.registry import Format
from sa_engine.masks.rle import decode
from sa_engine.pipelines.export import ExportRun, ExportSummary, OutFormat, run_export
from sa_engine.pipelines.stages.manual import ImportRun, run_import
from tests.support.drawing import save_picture

WIDTH, HEIGHT = 60, 40
SQUARE = [[10, 10, 14, 10, 14, 14, 10, 14]]


def dataset_of(folder: Path, *annotations: dict[str, Any], **further: Any) -> Path:
    """A dataset made of a COCO file."""
    save_picture(folder / "images" / "a.jpg", (WIDTH, HEIGHT))
    image = {"id": 1, "file_name": "a.jpg", "width": WIDTH, "height": HEIGHT}
    content = {
        "images": [image],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [
            {"id": n, "image_id": 1, "category_id": 1, "iscrowd": 0, **each}
            for n, each in enumerate(annotations, start=1)
        ],
        **further,
    }
    (folder / "instances.json").write_text(json.dumps(content))
    run_import(ImportRun(annotations=folder / "instances.json", out=folder / "dataset"))
    return folder / "dataset"


def exported(dataset: Path, kind: OutFormat) -> tuple[Path, ExportSummary]:
    out = dataset.parent / kind.value
    return out, run_export(ExportRun(dataset=dataset, out=out, format=kind))


@pytest.fixture
def square(tmp_path: Path) -> Path:
    return dataset_of(tmp_path, {"segmentation": SQUARE})


def square_pixels() -> Any:
    pixels = np.zeros((HEIGHT, WIDTH), dtype=bool)
    pixels[10:14, 10:14] = True
    return pixels


@pytest.mark.parametrize("whole", [np.trunc, np.round])
def test_ultralytics_and_supervision_draw_the_same_mask(square: Path, whole: Any) -> None:
    """The one cuts coordinates, the other rounds them; both fill with the outline drawn."""
    out, summary = exported(square, OutFormat.YOLO_SEG)
    numbers = (out / "labels" / "a.txt").read_text().split()[1:]
    points = np.array(numbers, dtype=np.float32).reshape(-1, 2) * (WIDTH, HEIGHT)
    drawn = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    cv2.fillPoly(drawn, [whole(points).astype(np.int32)], 1)

    assert np.array_equal(drawn.astype(bool), square_pixels())
    assert not summary.losses.items()
    # A relative path would be looked for in the settings' folder of data sets.
    assert "path" not in yaml.safe_load((out / "data.yaml").read_text())


def test_labelme_draws_the_same_mask(square: Path) -> None:
    out, _ = exported(square, OutFormat.LABELME)
    (shape,) = json.loads((out / "a.json").read_bytes())["shapes"]
    image = Image.new("L", (WIDTH, HEIGHT))
    ImageDraw.Draw(image).polygon([tuple(xy) for xy in shape["points"]], outline=1, fill=1)

    assert np.array_equal(np.asarray(image).astype(bool), square_pixels())


def test_sa_1b_has_no_null_and_keeps_the_name(square: Path) -> None:
    out, _ = exported(square, OutFormat.SA_1B)
    with tarfile.open(out / "sa_000000.tar") as archive:
        member = archive.extractfile("sa_1.json")
        assert member is not None
        text = member.read().decode()

    assert "null" not in text
    assert not {"predicted_iou", "stability_score"} & json.loads(text)["annotations"][0].keys()
    run_import(ImportRun(annotations=out, out=square.parent / "again"))
    again, _ = exported(square.parent / "again", OutFormat.CVAT)
    assert (again / "images" / "a.jpg").is_file()


BOX = {"segmentation": [], "bbox": [20, 10, 14.5, 14], "keypoints": [21, 11, 2]}


@pytest.mark.parametrize("kind", list(OutFormat))
def test_boxes_go_out_or_are_counted(tmp_path: Path, kind: OutFormat) -> None:
    dataset = dataset_of(tmp_path, {"segmentation": SQUARE}, BOX)
    out, summary = exported(dataset, kind)
    has_boxes = kind not in (OutFormat.YOLO_SEG, OutFormat.MASKS, OutFormat.SA_1B)

    assert dict(summary.losses.items()).get("box-left-out", 0) == int(not has_boxes)
    imported = run_import(ImportRun(annotations=out, out=tmp_path / "again"))
    assert imported.report is not None
    assert imported.report["masks"]["kept"] == 1
    assert imported.report["boxes"]["without_masks"] == int(has_boxes)
    if has_boxes:
        (box,) = Dataset(tmp_path / "again")[0].attributes["boxes"]
        assert box["bbox"] == pytest.approx([20, 10, 14.5, 14])
        assert box["category"] == "cat"


def test_a_box_in_coco_is_an_annotation(tmp_path: Path) -> None:
    out, _ = exported(dataset_of(tmp_path, {"segmentation": SQUARE}, BOX), OutFormat.COCO)
    mask, box = json.loads((out / "instances.json").read_bytes())["annotations"]

    assert [mask["id"], box["id"]] == [1, 2]
    assert {key: box[key] for key in BOX} == BOX
    assert (box["area"], box["category_id"]) == (203, 1)


def test_licences_and_info_come_back_in_coco(tmp_path: Path) -> None:
    about = {"info": {"year": 2026}, "licenses": [{"id": 3, "name": "CC0"}]}
    dataset = dataset_of(tmp_path, {"segmentation": SQUARE}, **about)
    out, _ = exported(dataset, OutFormat.COCO)
    content = json.loads((out / "instances.json").read_bytes())
    assert {key: content[key] for key in about} == about

    _, summary = exported(dataset, OutFormat.LABELME)
    assert dict(summary.losses.items()) == {"source-notes-left-out": 1}


WHEELS = [
    {"id": 1, "name": "wheel", "supercategory": "car"},
    {"id": 2, "name": "wheel", "supercategory": "bike"},
    {"id": 5, "name": "door"},
]


def test_categories_of_one_name_stay_apart(tmp_path: Path) -> None:
    annotations = [{"segmentation": SQUARE, "category_id": n} for n in (1, 2, 5)]
    dataset = dataset_of(tmp_path, *annotations, categories=WHEELS)
    out, summary = exported(dataset, OutFormat.COCO)
    content = json.loads((out / "instances.json").read_bytes())

    assert content["categories"] == WHEELS
    assert [each["category_id"] for each in content["annotations"]] == [1, 2, 5]
    assert not summary.losses.items()
    out, _ = exported(dataset, OutFormat.YOLO_SEG)
    rows = (out / "labels" / "a.txt").read_text().splitlines()
    assert [row[:2] for row in rows] == ["0 ", "1 ", "2 "]
    # Where categories are names alone, it is said that two have become one.
    for kind in (OutFormat.LABELME, OutFormat.CVAT, OutFormat.LABEL_STUDIO):
        _, summary = exported(dataset, kind)
        assert dict(summary.losses.items()) == {"categories-of-one-name-joined": 2}


def test_tags_go_out_where_they_can(tmp_path: Path) -> None:
    save_picture(tmp_path / "a.jpg", (WIDTH, HEIGHT))
    sides = f'width="{WIDTH}" height="{HEIGHT}"'
    image = f'<image id="0" name="a.jpg" {sides}><tag label="dark"/></image>'
    (tmp_path / "in.xml").write_text(f"<annotations>{image}</annotations>")
    run_import(ImportRun(annotations=tmp_path / "in.xml", out=tmp_path / "dataset"))
    for kind in OutFormat:
        out, summary = exported(tmp_path / "dataset", kind)
        lost = kind in (OutFormat.YOLO_SEG, OutFormat.MASKS)
        assert ("image-details-left-out" in dict(summary.losses.items())) is lost
        if not lost:
            run_import(ImportRun(annotations=out, out=tmp_path / f"{kind}-again"))
            assert Dataset(tmp_path / f"{kind}-again")[0].attributes["tags"] == ["dark"]


def test_label_studio_gets_proposals_as_predictions(tmp_path: Path) -> None:
    """Its server knows no users by made-up addresses, and skips tasks that are annotated."""
    known = {"segmentation": SQUARE, "annotator": "anna@example.org"}
    proposed = {**known, "stage": "semi-automatic", "predicted_iou": 0.75}
    (tmp_path / "people").mkdir()
    out, _ = exported(dataset_of(tmp_path / "people", known), OutFormat.LABEL_STUDIO)
    (task,) = json.loads((out / "tasks.json").read_bytes())
    (annotation,) = task["annotations"]
    assert annotation.keys() == {"was_cancelled", "result"}
    assert annotation["result"][0]["meta"]["annotator"] == "anna@example.org"

    out, _ = exported(dataset_of(tmp_path / "model", known, proposed), OutFormat.LABEL_STUDIO)
    (task,) = json.loads((out / "tasks.json").read_bytes())
    assert task["annotations"] == []
    (prediction,) = task["predictions"]
    assert (len(prediction["result"]), prediction["score"]) == (2, 0.75)
    # As it is, it is a way to carry masks; that they come back says nothing of people.
    summary = run_import(
        ImportRun(annotations=out, out=tmp_path / "again", format=Format.LABEL_STUDIO)
    )
    assert summary.run.num_masks == 2
    stages = [mask.stage.value for mask in Dataset(tmp_path / "again")[0].annotations]
    assert stages == ["manual", "semi-automatic"]
    masks = Dataset(tmp_path / "again")[0].annotations
    assert np.array_equal(decode(masks[0].segmentation), square_pixels())
