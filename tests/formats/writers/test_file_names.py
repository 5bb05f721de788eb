"""Names in exports: no two images end under one, and none is what a file system refuses."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from sa_engine.dataset.reader import Dataset
from sa_engine.dataset.records import ImageRecord
from sa_engine.formats.writers.file_names import Names
from sa_engine.pipelines.export import ExportRun, OutFormat, run_export
from sa_engine.pipelines.stages.manual import ImportRun, run_import
from tests.support.drawing import save_picture


def record(image_id: int, source: str, suffix: str = "jpg", **attributes: str) -> ImageRecord:
    return ImageRecord(
        image_id=image_id,
        file_name=f"sa_{image_id}.{suffix}",
        source=source,
        width=8,
        height=6,
        sha256="",
        attributes=attributes,
    )


def named(*sources: str) -> list[str]:
    names = Names()
    return [names.of(record(k, source)) for k, source in enumerate(sources, start=1)]


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        (("a.jpg", "b/a.jpg"), ["a.jpg", "b/a.jpg"]),
        # A name that was given for want of another may be a third image's own.
        (("3_a.jpg", "a.jpg", "a.jpeg"), ["3_a.jpg", "a.jpg", "2_3_a.jpeg"]),
        (("A.jpg", "a.jpg"), ["A.jpg", "2_a.jpg"]),
        (("u\u0308.jpg", "\u00fc.jpg"), ["\u00fc.jpg", "2_\u00fc.jpg"]),
        # A folder that is called as a file.
        (("a.jpg", "a.jpg/b.jpg", "a.json/c.jpg"), ["a.jpg", "a.jpg_/b.jpg", "a.json_/c.jpg"]),
        (("caf\\xe9.jpg",), ["caf_xe9.jpg"]),
        ((".jpg",), ["1.jpg"]),
        (("../x/.hidden.jpg",), [".hidden.jpg"]),
    ],
)
def test_every_image_has_a_name_of_its_own(sources: tuple[str, ...], expected: list[str]) -> None:
    assert named(*sources) == expected


def test_long_names_are_cut_and_still_differ() -> None:
    long = "\u00e4" * 200
    found = named(f"{long}1.jpg", f"{long}2.jpg", f"{long}/x.jpg", f"{'y' * 300}/x.jpg")
    assert len(set(found)) == 4
    for path in found:
        assert all(len(part.encode()) <= 255 for part in path.split("/"))


def test_the_source_s_own_name_comes_first() -> None:
    assert Names().of(record(1, "x.png", "png", file_name="set\\a.png")) == "set/a.png"
    assert Names().of(replace(record(1, "t.tar!b/c.png"), file_name="sa_1.jpg")) == "b/c.jpg"


@pytest.mark.parametrize("kind", [OutFormat.LABELME, OutFormat.YOLO_SEG, OutFormat.MASKS])
def test_no_mask_is_lost_to_a_name(tmp_path: Path, kind: OutFormat) -> None:
    names = ["3_a.jpg", "a.jpg", "a.png", "b.jpg/c.jpg", "b.jpg_/c.jpg"]
    content = []
    for k, name in enumerate(names):
        save_picture(tmp_path / "images" / name)
        ring = [1, 1, 4 + k % 3, 1, 4 + k % 3, 5, 1, 5]
        content.append((name, ring))
    coco = {
        "images": [
            {"id": k, "file_name": name, "width": 8, "height": 6, "shapes": [], "imagePath": "x"}
            for k, (name, _) in enumerate(content)
        ],
        "categories": [{"id": 1, "name": "leaf"}],
        "annotations": [
            {"id": k, "image_id": k, "category_id": 1, "segmentation": [ring]}
            for k, (_, ring) in enumerate(content)
        ],
    }
    (tmp_path / "instances.json").write_text(json.dumps(coco))
    run_import(ImportRun(annotations=tmp_path / "instances.json", out=tmp_path / "set"))
    before = [m.segmentation for r in Dataset(tmp_path / "set") for m in r.annotations]
    assert len(before) == len(names)
    run_export(ExportRun(dataset=tmp_path / "set", out=tmp_path / "out", format=kind))
    run_import(ImportRun(annotations=tmp_path / "out", out=tmp_path / "back"))
    after = [m.segmentation for r in Dataset(tmp_path / "back") for m in r.annotations]
    assert sorted(map(repr, after)) == sorted(map(repr, before))
