"""COCO and LVIS: a file by the format's page, and everything that goes wrong in such files."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from sa_engine.errors import AnnotationError
from sa_engine.formats.base import ImportedImage
from sa_engine.formats.detect import detect_format
from sa_engine.formats.readers.coco import CocoSource
from sa_engine.formats.registry import Format
from tests.support.drawing import rows

# By https://cocodataset.org/#format-data: one mask as polygons, one as run lengths, one as a crowd.
# Ids start at 0, as in many files.
SAMPLE: dict[str, Any] = {
    "info": {"year": 2026, "version": "1.0"},
    "licenses": [{"id": 1, "name": "CC BY", "url": ""}],
    "categories": [
        {"id": 0, "name": "cat", "supercategory": "animal"},
        {"id": 7, "name": "crowd of cats", "supercategory": "animal"},
    ],
    "images": [
        {"id": 0, "file_name": "a.png", "width": 8, "height": 6, "license": 1, "date": "today"},
        {"id": 5, "file_name": "b.png", "width": 8, "height": 6},
    ],
    "annotations": [
        {
            "id": 0,
            "image_id": 0,
            "category_id": 0,
            # Two polygons are one object.
            "segmentation": [[1, 1, 4, 1, 4, 3, 1, 3], [5, 3, 7, 3, 7, 5, 5, 5]],
            "area": 10.0,
            "bbox": [1, 1, 6, 4],
            "iscrowd": 0,
            "score": 0.5,
        },
        {
            "id": 1,
            "image_id": 0,
            "category_id": 0,
            # Columns first: 8 background, 2 foreground, ...
            "segmentation": {"size": [6, 8], "counts": [8, 2, 4, 2, 32]},
            "area": 4,
            "bbox": [1, 2, 2, 2],
            "iscrowd": 0,
        },
        {
            "id": 2,
            "image_id": 0,
            "category_id": 7,
            "segmentation": {"size": [6, 8], "counts": "01_1"},
            "area": 1,
            "bbox": [0, 0, 1, 1],
            "iscrowd": 1,
        },
    ],
}


def write(folder: Path, content: Any = SAMPLE) -> Path:
    path = folder / "instances.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def with_segmentation(segmentation: Any, **further: Any) -> dict[str, Any]:
    """The sample with one annotation of its own."""
    annotation = {"id": 9, "image_id": 0, "category_id": 0, "segmentation": segmentation}
    return {**SAMPLE, "annotations": [{**annotation, **further}]}


def read(folder: Path, content: Any) -> ImportedImage:
    return CocoSource(write(folder, content)).read(0, (6, 8))


def reasons(image: ImportedImage) -> Counter[str]:
    found = Counter(note.reason.value for note in image.notes)
    found.update(repair.value for mask in image.masks for repair in mask.repairs)
    return found


def test_a_file_by_the_book(tmp_path: Path) -> None:
    source = CocoSource(write(tmp_path))

    assert detect_format(tmp_path / "instances.json") is Format.COCO
    assert [image.file_name for image in source.images] == ["a.png", "b.png"]
    assert source.size_hw(0) == (6, 8)
    assert (source.count(0), source.count(1)) == (3, 0)
    assert not source.notes
    image = source.read(0, (6, 8))
    assert not image.notes
    assert [mask.repairs for mask in image.masks] == [(), (), ()]
    polygons, runs, crowd = image.masks
    assert rows(polygons.segmentation) == [
        "........",
        ".###....",
        ".###....",
        ".....##.",
        ".....##.",
        "........",
    ]
    assert rows(runs.segmentation) == [
        "........",
        "........",
        ".##.....",
        ".##.....",
        "........",
        "........",
    ]
    assert rows(crowd.segmentation)[0] == "#......."
    assert [mask.category for mask in image.masks] == ["cat", "cat", "crowd of cats"]
    assert [mask.iscrowd for mask in image.masks] == [False, False, True]
    assert polygons.attributes == {"source_id": 0, "category_id": 0, "score": 0.5}
    assert image.attributes == {
        "source_id": 0,
        "file_name": "a.png",
        "license": 1,
        "date": "today",
    }
    assert source.read(1, (6, 8)) == ImportedImage(
        attributes={"source_id": 5, "file_name": "b.png"}
    )


def test_lvis_has_no_iscrowd_and_may_have_only_an_address(tmp_path: Path) -> None:
    content = {
        "categories": [{"id": 3, "name": "aerosol_can", "synset": "aerosol.n.02"}],
        "images": [
            {
                "id": 397133,
                "coco_url": "http://images.cocodataset.org/val2017/000000397133.jpg",
                "width": 8,
                "height": 6,
                "neg_category_ids": [1, 2],
                "not_exhaustive_category_ids": [],
            }
        ],
        "annotations": [
            {
                "id": 1,
                "image_id": 397133,
                "category_id": 3,
                "segmentation": [[0, 0, 2, 0, 2, 2, 0, 2]],
                "bbox": [0, 0, 2, 2],
                "area": 4,
            }
        ],
    }
    path = write(tmp_path, content)
    source = CocoSource(path)

    assert detect_format(path) is Format.LVIS
    assert source.images[0].file_name == "val2017/000000397133.jpg"
    image = source.read(0, (6, 8))
    assert image.masks[0].category == "aerosol_can"
    assert not image.masks[0].iscrowd
    assert image.attributes["neg_category_ids"] == [1, 2]


@pytest.mark.parametrize(
    ("segmentation", "expected"),
    [
        pytest.param([], {"no-shape": 1}, id="no ring"),
        pytest.param([[]], {"empty-mask": 1}, id="an empty ring"),
        pytest.param([[1, 1, 4, 1, 4, 3, 1]], {"bad-polygon": 1}, id="odd"),
        pytest.param([[1, 1, 4, 1]], {"bad-polygon": 1}, id="two points"),
        pytest.param([["a", "b", 1, 1, 2, 2]], {"bad-polygon": 1}, id="words"),
        pytest.param([[1, 1, 4, None, 4, 3]], {"bad-polygon": 1}, id="null"),
        pytest.param([[1, 1, 4, 1e999, 4, 3]], {"bad-polygon": 1}, id="infinite"),
        pytest.param([[1, 1, 4, 1e300, 4, 3]], {"bad-polygon": 1}, id="far out of range"),
        pytest.param([[2, 2, 2, 2, 2, 2]], {"empty-mask": 1}, id="no area"),
        pytest.param([[20, 20, 30, 20, 30, 30]], {"empty-mask": 1}, id="outside"),
        pytest.param("gone", {"bad-polygon": 1}, id="text"),
        pytest.param({"size": [6, 8]}, {"bad-rle": 1}, id="no counts"),
        pytest.param({"size": [8, 6], "counts": [8, 2, 38]}, {"rle-size-differs": 1}, id="size"),
        pytest.param({"size": [6, 8], "counts": [8, 2, 39]}, {"bad-rle": 1}, id="too long"),
        pytest.param({"size": [6, 8], "counts": [8, -2, 42]}, {"bad-rle": 1}, id="negative"),
        pytest.param({"size": [6, 8], "counts": [48]}, {"empty-mask": 1}, id="background"),
        pytest.param({"size": [6, 8], "counts": "zzzz"}, {"bad-rle": 1}, id="not its alphabet"),
        pytest.param({"size": [6, 8], "counts": "01_10"}, {"bad-rle": 1}, id="a run too many"),
        pytest.param({"size": "6x8", "counts": [48]}, {"bad-rle": 1}, id="size as text"),
    ],
)
def test_what_cannot_be_a_mask_is_dropped_by_reason(
    tmp_path: Path, segmentation: Any, expected: dict[str, int]
) -> None:
    image = read(tmp_path, with_segmentation(segmentation))

    assert not image.masks
    assert reasons(image) == expected
    assert image.notes[0].what == "annotation 9"


@pytest.mark.parametrize(
    ("segmentation", "expected", "first_row"),
    [
        pytest.param(
            [[0, 0, 3, 0, 3, 2, 0, 2], [1, 1, 4]],
            {"broken-ring-left-out": 1},
            "###.....",
            id="one of two rings is broken",
        ),
        pytest.param(
            [0, 0, 3, 0, 3, 2, 0, 2], {"polygon-nesting": 1}, "###.....", id="one level too few"
        ),
        pytest.param(
            [[[0, 0], [3, 0], [3, 2], [0, 2]]],
            {"polygon-nesting": 1},
            "###.....",
            id="points as pairs",
        ),
        pytest.param(
            [[-5, -5, 3, -5, 3, 2, -5, 2]], {"clipped-to-image": 1}, "###.....", id="over the edge"
        ),
        pytest.param(
            [[-0.5, 0, 3, 0, 3, 2, -0.5, 2]],
            {},
            "###.....",
            id="over the edge by less than a pixel",
        ),
        pytest.param(
            {"size": [6, 8], "counts": [0, 1]}, {"runs-padded": 1}, "#.......", id="runs end early"
        ),
        pytest.param(
            {"size": [6, 8], "counts": [0, 1, 4]},
            {"runs-padded": 1},
            "#.......",
            id="the last background run is too short",
        ),
        pytest.param(
            {"size": [6, 8], "counts": "b'01_1'"},
            {"bytes-as-text": 1},
            "#.......",
            id="bytes written as text",
        ),
        pytest.param({"size": [6, 8], "counts": [0, 1, 0, 0, 47]}, {}, "#.......", id="empty runs"),
        pytest.param({"counts": [0, 1, 47]}, {}, "#.......", id="no size"),
    ],
)
def test_what_can_be_repaired_is(
    tmp_path: Path, segmentation: Any, expected: dict[str, int], first_row: str
) -> None:
    image = read(tmp_path, with_segmentation(segmentation))

    assert reasons(image) == expected
    assert rows(image.masks[0].segmentation)[0] == first_row


def test_a_sound_rle_string_stays_as_it_is(tmp_path: Path) -> None:
    image = read(tmp_path, SAMPLE)

    assert image.masks[2].segmentation.counts == "01_1"


def test_a_box_without_mask_is_a_box(tmp_path: Path) -> None:
    image = read(tmp_path, with_segmentation([], bbox=[1, 2, 3, 4]))

    assert not image.notes
    assert image.boxes[0].box_xywh == (1, 2, 3, 4)
    assert image.boxes[0].category == "cat"


def test_annotations_without_image_are_counted(tmp_path: Path) -> None:
    lost = {**SAMPLE["annotations"][0], "image_id": 99}
    source = CocoSource(write(tmp_path, {**SAMPLE, "annotations": [lost, lost]}))

    (note,) = source.notes
    assert (note.reason.value, note.count) == ("no-such-image", 2)
    assert note.what == "annotations of image id 99"


def test_repeated_annotation_ids_are_kept_with_a_note(tmp_path: Path) -> None:
    first = SAMPLE["annotations"][0]
    image = read(tmp_path, {**SAMPLE, "annotations": [first, first]})

    assert len(image.masks) == 2
    assert reasons(image) == {"repeated-id": 2}


def test_an_image_id_that_means_two_images_means_none(tmp_path: Path) -> None:
    images = [*SAMPLE["images"], {"id": 0, "file_name": "c.png", "width": 8, "height": 6}]
    source = CocoSource(write(tmp_path, {**SAMPLE, "images": images}))

    assert [image.file_name for image in source.images] == ["b.png"]
    assert source.count(0) == 0
    assert [(n.reason.value, n.count, n.of_images) for n in source.notes] == [
        ("ambiguous-image-id", 1, True),
        ("ambiguous-image-id", 3, False),
    ]


def test_an_image_listed_twice_is_one(tmp_path: Path) -> None:
    images = [*SAMPLE["images"], SAMPLE["images"][0]]
    source = CocoSource(write(tmp_path, {**SAMPLE, "images": images}))

    assert len(source.images) == 2
    assert source.count(0) == 3
    assert [note.reason.value for note in source.notes] == ["image-listed-twice"]


def test_images_without_name_and_records_that_are_none(tmp_path: Path) -> None:
    content = {
        **SAMPLE,
        "images": [{"id": 0, "width": 8, "height": 6}, "a.png", SAMPLE["images"][1]],
        "annotations": [*SAMPLE["annotations"], None, {"id": 4, "image_id": [0]}],
    }
    source = CocoSource(write(tmp_path, content))

    assert [image.file_name for image in source.images] == ["b.png"]
    found = Counter((note.reason.value, note.of_images) for note in source.notes)
    assert found == {
        ("image-without-name", True): 1,
        ("image-without-name", False): 1,
        ("not-an-annotation", True): 1,
        ("not-an-annotation", False): 2,
    }


def test_an_unknown_category_is_kept_by_number(tmp_path: Path) -> None:
    image = read(tmp_path, with_segmentation([[0, 0, 2, 0, 2, 2]], category_id=44))

    assert image.masks[0].category is None
    assert image.masks[0].attributes["category_id"] == 44
    assert reasons(image) == {"unknown-category": 1}


def test_numbers_that_strict_json_cannot_hold_become_null(tmp_path: Path) -> None:
    path = tmp_path / "instances.json"
    text = json.dumps(with_segmentation([[0, 0, 2, 0, 2, 2]], score=1)).replace(
        '"score": 1', '"score": NaN'
    )
    path.write_text(text)

    assert CocoSource(path).read(0, (6, 8)).masks[0].attributes["score"] is None


def test_names_of_another_encoding(tmp_path: Path) -> None:
    content = json.dumps(
        {**SAMPLE, "images": [{"id": 0, "file_name": "Käse.png", "width": 8, "height": 6}]},
        ensure_ascii=False,
    )
    path = tmp_path / "instances.json"
    for encoding, notes in (
        ("utf-8", []),
        ("utf-8-sig", []),
        ("utf-16", []),
        ("cp1252", ["not-utf8"]),
    ):
        path.write_bytes(content.encode(encoding))
        source = CocoSource(path)
        assert source.images[0].file_name == "Käse.png", encoding
        assert [n.reason.value for n in source.notes] == notes, encoding
        assert len(source.read(0, (6, 8)).masks) == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"images": [{"id": 0, "file_name": "a.pn', "ends too early, at byte 40"),
        ('{"images": []', "ends too early, at byte 13"),
        ('{"images": [1 2]}', "is not JSON at byte 14: expected , or ]"),
        ('{"images": nope}', "is not JSON at byte 11"),
        ('{"annotations": []}', 'has no list of "images"'),
        ("", "ends too early"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_files_that_cannot_be_read_at_all(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "instances.json"
    path.write_text(text)

    with pytest.raises(AnnotationError, match=message.replace("[", r"\[")):
        CocoSource(path)


def test_the_engines_own_fields_come_back(tmp_path: Path) -> None:
    fields = {
        "annotator": "ann",
        "time_spent_s": 12.5,
        "stage": "automatic",
        "predicted_iou": 0.9,
        "stability_score": 0.97,
        "crop_box": [0, 0, 4, 6],
        "point_coords": [[1.5, 2.5]],
    }
    image = read(tmp_path, with_segmentation([[0, 0, 2, 0, 2, 2]], **fields))

    (mask,) = image.masks
    assert (mask.annotator, mask.time_spent_s, mask.stage.value) == ("ann", 12.5, "automatic")
    assert (mask.predicted_iou, mask.stability_score) == (0.9, 0.97)
    assert mask.crop_box_xywh == (0, 0, 4, 6)
    assert mask.point_coords_xy == ((1.5, 2.5),)
    assert mask.attributes == {"source_id": 9, "category_id": 0}
