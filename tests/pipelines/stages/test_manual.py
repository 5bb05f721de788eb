"""Importing: pictures and annotations in, a dataset and a report out."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sa_engine.dataset.folder.base import LocalFolder
from sa_engine.dataset.folder.sealed import unseal
from sa_engine.dataset.reader import Dataset
from sa_engine.dataset.records import ImageStatus, Stage
from sa_engine.dataset.verify import verify
from sa_engine.errors import UsageError
from sa_engine.formats.registry import Format
from sa_engine.masks.rle import decode
from sa_engine.pipelines.run.workers import Workers
from sa_engine.pipelines.stages.manual import ImportRun, ImportSummary, run_import
from tests.formats.readers import (
    test_bsds,
    test_coco,
    test_cvat,
    test_datumaro,
    test_label_images,
    test_label_studio,
    test_labelme,
    test_sa1b,
    test_yolo,
)
from tests.pipelines.conftest import deterministic_bytes
from tests.support.drawing import rows, save_picture


def imported(annotations: Path, out: Path, **options: Any) -> ImportSummary:
    return run_import(ImportRun(annotations=annotations, out=out, **options))


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    """The hand-written COCO file with its two pictures."""
    for name in ("a.png", "b.png"):
        save_picture(tmp_path / "images" / name)
    return test_coco.write(tmp_path)


def test_a_coco_file_becomes_a_dataset(tmp_path: Path, coco: Path) -> None:
    summary = imported(coco, tmp_path / "out")

    assert verify(tmp_path / "out") == []
    assert summary.format is Format.COCO
    assert (summary.run.num_images, summary.run.num_masks) == (2, 3)
    dataset = Dataset(tmp_path / "out")
    assert dataset.manifest.stage is Stage.MANUAL
    with_masks, without = dataset
    assert (with_masks.source, without.source) == ("a.png", "b.png")
    assert dataset.read_image_bytes(with_masks) == (tmp_path / "images" / "a.png").read_bytes()
    polygons = with_masks.annotations[0]
    assert rows(polygons.segmentation)[1] == ".###...."
    # Measured on the mask, whatever the file says.
    assert (polygons.area, polygons.bbox_xywh) == (10, (1, 1, 6, 4))
    assert polygons.crop_box_xywh == (0, 0, 8, 6)
    assert (polygons.stage, polygons.predicted_iou) == (Stage.MANUAL, None)
    assert [mask.iscrowd for mask in with_masks.annotations] == [False, False, True]
    assert without.annotations == ()
    assert with_masks.attributes["license"] == 1
    written = (tmp_path / "out" / "import-report.json").read_bytes()
    assert summary.report == unseal(written, name="the report")
    assert summary.report == {
        "format": "coco",
        "images": {
            "listed": 2,
            "imported": 2,
            "failed": 0,
            "pictures_without_annotations": 0,
            "frames": {},
            "notes": {},
        },
        "masks": {"kept": 3, "repaired": {}, "dropped": {}},
        "boxes": {"without_masks": 0, "segmented": 0},
        "beside": {},
        "categories": test_coco.SAMPLE["categories"],
        "about": {key: test_coco.SAMPLE[key] for key in ("info", "licenses")},
    }


def test_every_repair_and_loss_is_counted_and_named(tmp_path: Path, coco: Path) -> None:
    annotation = test_coco.SAMPLE["annotations"][0]
    content = {
        **test_coco.SAMPLE,
        "images": [
            *test_coco.SAMPLE["images"],
            {"id": 6, "file_name": "gone.png", "width": 8, "height": 6},
            {"id": 7, "file_name": "../images/c.png", "width": 8, "height": 6},
            {"id": 8, "file_name": "broken.png", "width": 8, "height": 6},
        ],
        "annotations": [
            annotation,
            {**annotation, "id": 10, "segmentation": [[1, 1, 2]]},
            {**annotation, "id": 11, "segmentation": [[-9, -9, 3, -9, 3, 3, -9, 3]]},
            {**annotation, "id": 12, "segmentation": []},
            {**annotation, "id": 13, "image_id": 6},
            {**annotation, "id": 14, "image_id": 8},
            {**annotation, "id": 15, "image_id": 99},
        ],
    }
    test_coco.write(tmp_path, content)
    save_picture(tmp_path / "images" / "c.png")
    save_picture(tmp_path / "images" / "unlisted.png")
    (tmp_path / "images" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    report = imported(coco, tmp_path / "out").report

    assert report is not None
    assert report["images"] == {
        "listed": 5,
        "imported": 3,
        "failed": 1,
        "pictures_without_annotations": 1,
        "frames": {},
        "notes": {
            "image-file-missing": {"count": 1, "examples": ["gone.png"]},
            "image-unreadable": {"count": 1, "examples": ["broken.png"]},
            "unsafe-file-name": {"count": 1, "examples": ["../images/c.png"]},
        },
    }
    assert report["masks"] == {
        "kept": 2,
        "repaired": {"clipped-to-image": {"count": 1, "examples": ["a.png: annotation 11"]}},
        "dropped": {
            "bad-polygon": {"count": 1, "examples": ["a.png: annotation 10"]},
            "image-file-missing": {"count": 1, "examples": ["annotations of gone.png"]},
            "image-unreadable": {"count": 1, "examples": ["annotations of broken.png"]},
            "no-such-image": {"count": 1, "examples": ["annotations of image id 99"]},
        },
    }
    assert report["boxes"] == {"without_masks": 1, "segmented": 0}
    first = Dataset(tmp_path / "out")[0]
    assert first.attributes["boxes"][0]["bbox"] == [1, 1, 6, 4]
    assert first.attributes["import"]["dropped"]["bad-polygon"]["count"] == 1
    assert first.annotations[1].attributes["repaired"] == ["clipped-to-image"]


def test_the_same_bytes_whoever_does_it(tmp_path: Path, coco: Path) -> None:
    """Two workers, or one that goes on after another, make what one makes alone."""
    imported(coco, tmp_path / "one", images_per_shard=1)
    imported(coco, tmp_path / "two", images_per_shard=1, workers=Workers(count=2))
    imported(coco, tmp_path / "again", images_per_shard=1)
    for name in ("sa_000001_stats.json", "sa_000001.tar", "sa_000001.parquet"):
        (tmp_path / "again" / name).unlink()
    (tmp_path / "again" / "import-report.json").unlink()
    imported(coco, tmp_path / "again", images_per_shard=1)

    first = deterministic_bytes(LocalFolder(tmp_path / "one"))
    assert "import-report.json" in first
    assert deterministic_bytes(LocalFolder(tmp_path / "two")) == first
    assert deterministic_bytes(LocalFolder(tmp_path / "again")) == first


def test_other_annotations_do_not_continue_a_dataset(tmp_path: Path, coco: Path) -> None:
    imported(coco, tmp_path / "out")
    test_coco.write(tmp_path, {**test_coco.SAMPLE, "annotations": []})

    with pytest.raises(UsageError, match="the annotations have changed"):
        imported(coco, tmp_path / "out")


def test_pictures_that_are_not_there(tmp_path: Path, coco: Path) -> None:
    shutil.rmtree(tmp_path / "images")
    save_picture(tmp_path / "elsewhere" / "x.png")

    with pytest.raises(UsageError, match=r"none of the 2 images .* 'a\.png' among them"):
        imported(coco, tmp_path / "out", images=str(tmp_path / "elsewhere"))
    with pytest.raises(UsageError, match="there is no "):
        imported(coco, tmp_path / "out", images=str(tmp_path / "images"))


def test_masks_of_the_stored_frame_are_turned_upright(tmp_path: Path, coco: Path) -> None:
    """The file speaks of 8x6; the camera's note makes the picture 6x8."""
    save_picture(tmp_path / "images" / "a.png", (8, 6), exif=6)
    save_picture(tmp_path / "images" / "b.png", (8, 6), exif=3)
    report = imported(coco, tmp_path / "out").report

    assert report is not None
    # Half turns leave no trace in the size: the other picture tells that the tool ignores the note.
    assert report["images"]["frames"] == {"as stored": 2}
    half_turned = Dataset(tmp_path / "out")[1].attributes["import"]
    assert half_turned == {"frame": "as stored", "exif_orientation": 3}
    assert report["masks"]["repaired"]["turned-upright"]["count"] == 3
    record = Dataset(tmp_path / "out")[0]
    assert (record.width, record.height) == (6, 8)
    # A quarter clockwise: the upper left square comes to lie at the upper right.
    assert rows(record.annotations[0].segmentation) == [
        "......",
        "...##.",
        "...##.",
        "...##.",
        "......",
        ".##...",
        ".##...",
        "......",
    ]
    assert record.annotations[0].attributes["repaired"] == ["turned-upright"]
    assert verify(tmp_path / "out") == []


def test_swapped_sizes_are_mended_only_where_the_masks_fit(tmp_path: Path) -> None:
    """The file says 6 wide and 8 high of a picture that is 8 wide and 6 high."""
    sizes = {"width": 6, "height": 8}
    fits = {"id": 1, "image_id": 1, "segmentation": [[1, 1, 7, 1, 7, 3, 1, 3]]}
    strange = {"id": 2, "image_id": 2, "segmentation": [[1, 1, 3, 1, 3, 9, 1, 9]]}
    images = [{"id": 1, "file_name": "a.png", **sizes}, {"id": 2, "file_name": "b.png", **sizes}]
    for name in ("a.png", "b.png"):
        save_picture(tmp_path / "images" / name)
    path = test_coco.write(tmp_path, {"images": images, "annotations": [fits, strange]})
    report = imported(path, tmp_path / "out").report

    assert report is not None
    assert report["masks"]["kept"] == 1
    assert report["masks"]["repaired"]["swapped-size-fields"]["examples"] == ["a.png: annotation 1"]
    assert report["masks"]["dropped"]["image-size-differs"] == {
        "count": 1,
        "examples": ["b.png: made for 6x8, is 8x6"],
    }


def test_a_picture_that_was_resized_since_loses_its_masks(tmp_path: Path, coco: Path) -> None:
    save_picture(tmp_path / "images" / "a.png", (16, 12))
    report = imported(coco, tmp_path / "out").report

    assert report is not None
    assert report["masks"]["kept"] == 0
    assert report["masks"]["dropped"]["image-size-differs"] == {
        "count": 3,
        "examples": ["a.png: made for 8x6, is 16x12"],
    }


def test_tasks_on_the_same_picture_are_joined(tmp_path: Path) -> None:
    save_picture(tmp_path / "images" / "a.png")
    task = test_label_studio.SAMPLE[0]
    path = test_label_studio.write(tmp_path, [task, {**task, "id": 12}])
    summary = imported(path, tmp_path / "out")

    assert summary.report is not None
    assert summary.run.num_images == 1
    assert summary.report["masks"]["kept"] == 10
    assert summary.report["images"]["notes"]["image-listed-twice"]["count"] == 1


def _with_pictures(folder: Path, kind: Format) -> Path:
    """A hand-written source of a format with its pictures; what to import."""
    match kind:
        case Format.COCO:
            for name in ("a.png", "b.png"):
                save_picture(folder / "images" / name)
            return test_coco.write(folder)
        case Format.SA_1B:
            save_picture(folder / "sa_1.jpg")
            return test_sa1b.write(folder)
        case Format.LABELME:
            save_picture(folder / "a.png")
            return test_labelme.write(folder)
        case Format.CVAT:
            for name in ("sub/a.png", "b.png", "c.png"):
                save_picture(folder / "images" / name)
            return test_cvat.write(folder)
        case Format.LABEL_STUDIO:
            for name in ("a.png", "b.png"):
                save_picture(folder / name)
            return test_label_studio.write(folder)
        case Format.YOLO_SEG:
            return test_yolo.write(folder)
        case Format.MASKS:
            save_picture(folder / "images" / "a.jpg")
            return test_label_images.write_masks(folder)
        case Format.VOC:
            save_picture(folder / "JPEGImages" / "2007_000032.jpg")
            return test_label_images.write_voc(folder)
        case Format.DAVIS:
            save_picture(folder / "JPEGImages" / "480p" / "bear" / "00000.jpg")
            return test_label_images.write_davis(folder)
        case Format.DATUMARO:
            for name in ("a.png", "b.png"):
                save_picture(folder / "images" / "train" / name)
            return test_datumaro.write(folder)
        case _:
            save_picture(folder / "images" / "train" / "2092.jpg", (4, 3))
            test_bsds.write(folder)
            return folder


@pytest.mark.parametrize(
    ("kind", "images", "masks"),
    [
        (Format.COCO, 2, 3),
        (Format.SA_1B, 1, 1),
        (Format.LABELME, 1, 5),
        (Format.CVAT, 3, 5),
        (Format.LABEL_STUDIO, 2, 5),
        # A picture without a label file holds no object.
        (Format.YOLO_SEG, 2, 1),
        (Format.MASKS, 1, 2),
        (Format.VOC, 1, 2),
        (Format.DAVIS, 1, 2),
        (Format.DATUMARO, 2, 4),
        (Format.BSDS, 1, 5),
    ],
)
def test_every_format_is_found_and_imported(
    tmp_path: Path, kind: Format, images: int, masks: int
) -> None:
    summary = imported(_with_pictures(tmp_path, kind), tmp_path / "out")

    assert summary.format is kind
    assert (summary.run.num_images, summary.run.num_masks) == (images, masks)
    assert not summary.run.num_failed
    assert verify(tmp_path / "out") == []


def test_all_research_sets_keep_every_mask(tmp_path: Path, shared_data: Path) -> None:
    """One of each kind: polygons, run lengths with crowds, and several people's regions."""
    for name, kept in (("dev/lvis", 653), ("dev/pennfudan", 184)):
        source = shared_data / name / "instances.json"
        report = imported(source, tmp_path / name).report
        assert report is not None
        assert report["masks"] == {"kept": kept, "repaired": {}, "dropped": {}}
        assert report["images"]["notes"] == {}


def test_a_dense_image_stays_small(tmp_path: Path) -> None:
    """Masks are never arrays of the picture's size: 500 of them would be 6 GB here."""
    width, height = 4000, 3000
    Image.fromarray(np.zeros((height, width), dtype=np.uint8)).save(tmp_path / "a.png")
    annotations = [
        {"id": n, "image_id": 1, "segmentation": [[x, y, x + 9, y, x + 9, y + 9, x, y + 9]]}
        for n, (x, y) in enumerate((8 * (n % 400), 8 * (n // 400)) for n in range(500))
    ]
    image = {"id": 1, "file_name": "a.png", "width": width, "height": height}
    path = test_coco.write(tmp_path, {"images": [image], "annotations": annotations})
    imported(path, tmp_path / "out", images=str(tmp_path / "a.png"))

    (record,) = Dataset(tmp_path / "out").images(status=ImageStatus.OK)
    assert {mask.area for mask in record.annotations} == {81}
    assert decode(record.annotations[7].segmentation).shape == (height, width)


def test_an_edit_of_the_same_size_is_another_source(tmp_path: Path) -> None:
    folder = _with_pictures(tmp_path / "in", Format.LABELME)
    imported(folder, tmp_path / "out")
    path = next(folder.rglob("*.json"))
    text = path.read_text()
    path.write_text(text.replace("1", "2", 1))
    assert path.stat().st_size == len(text.encode())
    with pytest.raises(UsageError, match="annotations"):
        imported(folder, tmp_path / "out")


def test_annotations_that_were_edited_without_a_change_of_size_are_others(tmp_path: Path) -> None:
    folder = tmp_path / "labels"
    for name in ("a", "b"):
        save_picture(folder / f"{name}.png")
        shape = {"label": "cat", "points": [[1, 1], [5, 1], [5, 4]], "shape_type": "polygon"}
        content: dict[str, Any] = {"shapes": [shape], "imagePath": f"{name}.png"}
        content |= {"imageData": None, "imageHeight": 6, "imageWidth": 8}
        content |= {"version": "5.5.0", "flags": {}}
        (folder / f"{name}.json").write_text(json.dumps(content))
    run = ImportRun(annotations=folder, out=tmp_path / "out")
    before = run_import(run).report
    assert run_import(run).report == before
    for name, there, here in (("b.json", b'"cat"', b'"dog"'), ("a.png", None, None)):
        path = folder / name
        data = path.read_bytes()
        if there is None or here is None:
            pixels = np.array(Image.open(path))
            Image.fromarray(pixels ^ 1).save(path)
        else:
            path.write_bytes(data.replace(there, here))
        assert path.read_bytes() != data
        with pytest.raises(UsageError, match="the annotations have changed"):
            run_import(run)
        path.write_bytes(data)
    assert run_import(run).report == before


def test_verify_reads_the_report(tmp_path: Path, coco: Path) -> None:
    out = tmp_path / "out"
    imported(coco, out)
    assert verify(out) == []
    path = out / "import-report.json"
    data = path.read_bytes()
    for place in range(0, len(data), max(1, len(data) // 40)):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        (problem,) = verify(out, deep=False)
        assert (problem.file, problem.kind) == ("import-report.json", "checksum")
    path.unlink()
    (problem,) = verify(out, deep=False)
    assert problem.kind == "missing" and "writes it again" in problem.message
    imported(coco, out)
    assert path.read_bytes() == data and verify(out) == []
