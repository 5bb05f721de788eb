"""Exporting: what comes back when an export is imported again, and what is said to be lost."""

import json
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from sa_engine.dataset.manifest import Manifest, open_output
from sa_engine.dataset.reader import Dataset
from sa_engine.dataset.records import ImageRecord, MaskRecord, Stage
from sa_engine.dataset.shards.writer import ShardWriter
from sa_engine.dataset.sources.listing import list_sources
from sa_engine.errors import UsageError
from sa_engine.formats.writers.base_writer import Filter
from sa_engine.masks.rle import area, bbox_xywh, decode, encode
from sa_engine.pipelines.export import MARK_NAME, ExportRun, ExportSummary, OutFormat, run_export
from sa_engine.pipelines.stages.manual import ImportRun, run_import
from tests.support.drawing import grid, save_picture

RING = grid("........", ".####...", ".#..#...", ".####...", "........", "........")
INSIDE = grid("........", "........", "..##....", "........", "........", "......#.")
CORNER = grid("####....", "........", "........", "........", "........", "........")


def mask(pixels: Any, **fields: Any) -> MaskRecord:
    coded = encode(pixels)
    return MaskRecord(
        segmentation=coded,
        bbox_xywh=bbox_xywh(coded),
        area=area(coded),
        crop_box_xywh=(0.0, 0.0, 8.0, 6.0),
        **{"stage": Stage.MANUAL, **fields},
    )


MASKS = (
    mask(RING, category="cat", annotator="ann", time_spent_s=3.5, attributes={"score": 1}),
    mask(INSIDE, category="dog & <cat>", iscrowd=True),
    mask(
        CORNER,
        category="cat",
        stage=Stage.AUTOMATIC,
        predicted_iou=0.8,
        stability_score=0.9,
        point_coords_xy=((0.5, 0.5),),
    ),
)


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Two pictures; the first has a mask with a hole, one in two parts, and one of a model."""
    pictures = tmp_path / "pictures"
    for name in ("one/a.png", "two/a.png"):
        save_picture(pictures / name)
    sources = list_sources(pictures)
    out = tmp_path / "dataset"
    manifest = open_output(out, Manifest(stage=None, num_images=2), sources)
    with ShardWriter(out, 0, manifest=manifest) as writer:
        for image_id, source in enumerate(sources, start=1):
            record = ImageRecord(
                image_id=image_id,
                file_name=f"sa_{image_id}.png",
                source=source.name,
                width=8,
                height=6,
                sha256="0" * 64,
                annotations=MASKS if image_id == 1 else (),
            )
            writer.add(record, Path(source.uri).read_bytes())
        writer.finish()
    return out


def exported(dataset: Path, kind: OutFormat, **options: Any) -> tuple[Path, ExportSummary]:
    out = options.pop("out", dataset.parent / kind.value)
    return out, run_export(ExportRun(dataset=dataset, out=out, format=kind, **options))


LOSSES: dict[OutFormat, dict[str, int]] = {
    OutFormat.COCO: {},
    OutFormat.SA_1B: {},
    OutFormat.LABELME: {},
    OutFormat.CVAT: {},
    OutFormat.LABEL_STUDIO: {},
    OutFormat.YOLO_SEG: {
        "details-left-out": 3,
        "holes-joined-by-cuts": 1,
        "parts-joined-by-cuts": 1,
    },
    OutFormat.MASKS: {"category-left-out": 3, "details-left-out": 3},
}


@pytest.mark.parametrize("kind", list(OutFormat))
def test_pixels_come_back(tmp_path: Path, dataset: Path, kind: OutFormat) -> None:
    out, summary = exported(dataset, kind)
    run_import(ImportRun(annotations=out, out=tmp_path / "again"))

    assert (summary.num_images, summary.num_masks) == (2, 3)
    assert dict(summary.losses.items()) == LOSSES[kind]
    first, second = Dataset(tmp_path / "again")
    assert [m.segmentation for m in first.annotations] == [m.segmentation for m in MASKS]
    assert second.annotations == ()


@pytest.mark.parametrize("kind", [kind for kind in OutFormat if not LOSSES[kind]])
def test_everything_known_comes_back(tmp_path: Path, dataset: Path, kind: OutFormat) -> None:
    out, _ = exported(dataset, kind)
    run_import(ImportRun(annotations=out, out=tmp_path / "again"))

    def known(each: MaskRecord) -> tuple[Any, ...]:
        return (
            *(each.category, each.annotator, each.time_spent_s, each.iscrowd, each.stage),
            *(each.predicted_iou, each.stability_score, each.point_coords_xy, each.crop_box_xywh),
        )

    found = Dataset(tmp_path / "again")[0].annotations
    assert [known(each) for each in found] == [known(each) for each in MASKS]
    if kind is not OutFormat.CVAT:
        # CVAT's attributes are text.
        assert found[0].attributes["score"] == 1


def test_coco_is_read_by_its_own_tools(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, _ = exported(dataset, OutFormat.COCO)
    api = COCO(out / "instances.json")

    assert [category["name"] for category in api.loadCats(api.getCatIds())] == [
        "cat",
        "dog & <cat>",
    ]
    annotations = api.loadAnns(api.getAnnIds(imgIds=[1]))
    found = [api.annToMask(annotation).astype(bool) for annotation in annotations]
    assert all(np.array_equal(a, decode(b.segmentation)) for a, b in zip(found, MASKS, strict=True))
    # Run lengths are no crowds, and crowds stay crowds.
    assert [annotation["iscrowd"] for annotation in annotations] == [0, 1, 0]
    assert [image["file_name"] for image in api.loadImgs(api.getImgIds())] == [
        "one/a.png",
        "two/a.png",
    ]
    assert (out / "images" / "two" / "a.png").is_file()


def test_coco_polygons_where_they_are_exact(
    dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, summary = exported(
        dataset, OutFormat.COCO, polygons=True, out=dataset.parent / "polygons.json"
    )
    api = COCO(out)
    loaded: list[Any] = api.loadAnns(api.getAnnIds(imgIds=[1]))
    ring, inside, corner = loaded

    assert not summary.losses.items()
    # The one with a hole stays run lengths.
    assert ring["segmentation"]["size"] == [6, 8]
    assert inside["segmentation"] == [[2, 2, 4, 2, 4, 3, 2, 3], [6, 5, 7, 5, 7, 6, 6, 6]]
    assert corner["segmentation"] == [[0, 0, 4, 0, 4, 1, 0, 1]]
    for annotation, pixels in ((ring, RING), (inside, INSIDE), (corner, CORNER)):
        assert np.array_equal(api.annToMask(annotation), pixels)


def test_ids_and_categories_of_the_source_are_kept(tmp_path: Path) -> None:
    content = {
        "categories": [
            {"id": 18, "name": "dog", "supercategory": "animal"},
            {"id": 3, "name": "unused", "supercategory": "none"},
        ],
        "images": [{"id": 397133, "file_name": "a.png", "width": 8, "height": 6, "license": 2}],
        "annotations": [
            {
                "id": 82445,
                "image_id": 397133,
                "category_id": 18,
                "segmentation": {"size": [6, 8], "counts": "01_1"},
                "iscrowd": 1,
                "note": {"checked": True},
            }
        ],
    }
    save_picture(tmp_path / "images" / "a.png")
    (tmp_path / "in.json").write_text(json.dumps(content))
    run_import(ImportRun(annotations=tmp_path / "in.json", out=tmp_path / "dataset"))
    out, _ = exported(tmp_path / "dataset", OutFormat.COCO)

    found = json.loads((out / "instances.json").read_bytes())
    assert sorted(found["categories"], key=lambda c: -c["id"]) == content["categories"]
    assert found["images"] == content["images"]
    (annotation,) = found["annotations"]
    assert annotation.pop("area") == 1
    assert annotation.pop("bbox") == [0, 0, 1, 1]
    assert annotation == content["annotations"][0]


def test_filters(dataset: Path) -> None:
    for options, kept in (
        (Filter(min_area=4), [1, 3]),
        (Filter(min_area=4, stages=frozenset([Stage.MANUAL])), [1]),
        # People's masks have no predicted IoU, and stay.
        (Filter(min_iou=0.85), [1, 2]),
        (Filter(min_iou=0.8), [1, 2, 3]),
    ):
        out = dataset.parent / f"{kept}.json"
        _, summary = exported(dataset, OutFormat.COCO, filter=options, out=out)
        ids = [a["id"] - 1_000_000 for a in json.loads(out.read_bytes())["annotations"]]
        assert ids == kept
        assert (summary.num_masks, summary.num_left_out) == (len(kept), 3 - len(kept))


@pytest.mark.parametrize(
    ("options", "message"),
    [({"min_area": -1}, "least area"), ({"min_iou": 1.5}, "least predicted IoU")],
)
def test_filters_out_of_range(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Filter(**options)


def test_masks_that_overlap_in_a_map(tmp_path: Path, dataset: Path) -> None:
    """Where two masks share pixels the smaller one gets them, and both facts are counted."""
    large, small = grid("####", "####"), grid(".#..", "....")
    image = encode(large)
    save_picture(tmp_path / "p" / "a.png", (4, 2))
    sources = list_sources(tmp_path / "p")
    out = tmp_path / "overlapping"
    manifest = open_output(out, Manifest(stage=None, num_images=1), sources)
    covered = mask(small)
    with ShardWriter(out, 0, manifest=manifest) as writer:
        record = ImageRecord(
            image_id=1,
            file_name="sa_1.png",
            source="a.png",
            width=4,
            height=2,
            sha256="0" * 64,
            annotations=(covered, mask(large), covered),
        )
        assert image.size_hw == (2, 4)
        writer.add(record, Path(sources[0].uri).read_bytes())
        writer.finish()
    folder, summary = exported(out, OutFormat.MASKS)

    with Image.open(folder / "masks" / "a.png") as written:
        assert np.asarray(written).tolist() == [[2, 3, 2, 2], [2, 2, 2, 2]]
    assert dict(summary.losses.items()) == {"overlapped": 1, "hidden": 1}


def test_sa_1b_shards(dataset: Path) -> None:
    out, _ = exported(dataset, OutFormat.SA_1B)

    with tarfile.open(out / "sa_000000.tar") as archive:
        names = archive.getnames()
        member = archive.extractfile("sa_1.json")
        assert member is not None
        content = json.load(member)
    assert names == ["sa_1.png", "sa_1.json", "sa_2.png", "sa_2.json"]
    assert list(content["annotations"][2])[:9] == [
        *("id", "segmentation", "bbox", "area", "predicted_iou", "stability_score"),
        *("crop_box", "point_coords", "stage"),
    ]


def test_without_images(dataset: Path) -> None:
    out, _ = exported(dataset, OutFormat.LABELME, with_images=False)

    assert sorted(files(out)) == [MARK_NAME, "one/a.json", "two/a.json"]


def test_places_that_are_taken(dataset: Path) -> None:
    out, _ = exported(dataset, OutFormat.COCO)
    taken = out.parent / "taken"
    taken.mkdir()
    (taken / "mine").touch()
    for place in (taken, taken / "mine"):
        with pytest.raises(UsageError, match="is there already"):
            exported(dataset, OutFormat.COCO, out=place)
    assert sorted(files(taken)) == ["mine"] and not left_over(out.parent)
    with pytest.raises(UsageError, match="polygons can be chosen for coco alone"):
        exported(dataset, OutFormat.CVAT, polygons=True)


def test_import_export_import_of_research_sets(tmp_path: Path, shared_data: Path) -> None:
    """Polygons, run lengths and crowds: every mask is the same after the round."""
    for name in ("dev/lvis", "train/endangered"):
        first, again = tmp_path / name / "first", tmp_path / name / "again"
        run_import(ImportRun(annotations=shared_data / name / "instances.json", out=first))
        out, summary = exported(first, OutFormat.COCO, out=tmp_path / name / "coco")
        run_import(ImportRun(annotations=out, out=again))

        assert not summary.losses.items()
        for before, after in zip(Dataset(first), Dataset(again), strict=True):
            assert before.annotations == after.annotations
            assert before.attributes == after.attributes


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def left_over(folder: Path) -> list[Path]:
    return list(folder.glob(".*.draft"))


@pytest.mark.parametrize("kind", OutFormat)
def test_a_finished_export_is_known_again(dataset: Path, kind: OutFormat) -> None:
    out, first = exported(dataset, kind)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    again = run_export(ExportRun(dataset=dataset, out=out, format=kind))
    assert (again.num_images, again.num_masks) == (first.num_images, first.num_masks)
    assert again.losses.to_json() == first.losses.to_json()
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before
    with pytest.raises(UsageError, match="exported with other options or from another state"):
        run_export(ExportRun(dataset=dataset, out=out, format=kind, filter=Filter(min_area=3)))
    (out / MARK_NAME).unlink()
    with pytest.raises(UsageError, match="is there already"):
        run_export(ExportRun(dataset=dataset, out=out, format=kind))


def test_a_finished_coco_file_is_known_again(dataset: Path, tmp_path: Path) -> None:
    out = tmp_path / "masks.json"
    run = ExportRun(dataset=dataset, out=out, format=OutFormat.COCO)
    run_export(run)
    data = out.read_bytes()
    assert run_export(run).num_images == 2 and out.read_bytes() == data
    out.write_text("{}")
    with pytest.raises(UsageError, match="is there already"):
        run_export(run)
    assert out.read_text() == "{}" and not left_over(tmp_path)


EXPORTING = """
import sys, threading
from pathlib import Path
from sa_engine.pipelines.export import MARK_NAME, ExportRun, OutFormat, run_export
def wait(done, total):
    if len(sys.argv) > 3:
        print("begun", flush=True)
        sys.stdin.readline()
run = ExportRun(dataset=sys.argv[1], out=Path(sys.argv[2]), format=OutFormat.COCO)
run_export(run, progress=wait)
"""


def start_export(*arguments: str | Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", EXPORTING, *map(str, arguments)],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_what_a_killed_export_left_is_removed_and_a_live_one_is_not_harmed(
    dataset: Path, tmp_path: Path
) -> None:
    with start_export(dataset, tmp_path / "out", "wait") as killed:
        assert killed.stdout is not None and killed.stdout.readline() == "begun\n"
        killed.kill()
    assert len(left_over(tmp_path)) == 1
    (tmp_path / ".out.note.draft").mkdir()  # of somebody else
    live = [start_export(dataset, tmp_path / "out", "wait") for _ in range(2)]
    for process in live:
        assert process.stdout is not None and process.stdout.readline() == "begun\n"
    assert len(left_over(tmp_path)) == 3
    run_export(ExportRun(dataset=dataset, out=tmp_path / "out", format=OutFormat.COCO))
    before = files(tmp_path / "out")
    for process in live:
        # They were slower, and find what they would have made.
        _, said = process.communicate("\n\n")
        assert process.returncode == 0, said
    assert files(tmp_path / "out") == before
    assert [path.name for path in left_over(tmp_path)] == [".out.note.draft"]
