"""`import`, `export`, `merge`, `split` and `verify` as users run them."""

import json
from pathlib import Path
from typing import Any

import pytest

from sa_engine.cli.main import main
from tests.cli.conftest import Run
from tests.formats.readers import test_coco, test_label_images, test_label_studio
from tests.support.drawing import save_picture


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    for name in ("a.png", "b.png"):
        save_picture(tmp_path / "images" / name)
    return test_coco.write(tmp_path)


def test_the_round_of_a_dataset(sa_engine: Run, tmp_path: Path, coco: Path) -> None:
    done = sa_engine("import", coco, "--out", "dataset")
    lines = done.stdout.splitlines()
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert lines[0] == (
        f"found coco in {coco}: annotations of 2 images; "
        f"2 of the 2 pictures in {tmp_path / 'images'} will be imported"
    )
    assert lines[1].startswith("dataset: 2 images, 3 masks (1.5 an image) in ")
    assert lines[2:] == ["3 masks kept"]

    done = sa_engine("verify", "dataset")
    assert (done.returncode, done.stdout) == (0, "dataset: no problems\n")

    done = sa_engine("export", "dataset", "--format", "yolo-seg", "--out", "yolo")
    assert done.stdout.splitlines() == [
        "yolo: yolo-seg, 2 images, 3 masks",
        "not held by the format: 5 losses",
        "  2 details-left-out: no place for annotator, time, crowd mark, scores, prompts or other "
        "fields (such as mask 1000001)",
        "  1 image-details-left-out: no place for tags and other fields of images (such as a.png)",
        "  1 parts-joined-by-cuts: one ring only: the parts are joined by cuts, which tools draw a "
        "pixel wide (such as mask 1000001)",
        "  1 source-notes-left-out: no place for the source's licences and info "
        "(such as info, licenses)",
    ]

    done = sa_engine("split", "dataset", "--val", "0.5")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(" images") == 2

    done = sa_engine("merge", "dataset-train", "dataset-val", "--out", "merged")
    assert done.stdout == "merged: 2 images, 3 masks\n"


def test_repairs_and_losses_are_said(sa_engine: Run, tmp_path: Path, coco: Path) -> None:
    annotation = test_coco.SAMPLE["annotations"][0]
    images = [*test_coco.SAMPLE["images"], {"id": 9, "file_name": "gone.png"}]
    annotations = [
        annotation,
        {**annotation, "id": 10, "segmentation": [[1, 1]]},
        {**annotation, "id": 11, "segmentation": [[-9, -9, 3, -9, 3, 3, -9, 3]]},
        {**annotation, "id": 12, "segmentation": []},
    ]
    content = {**test_coco.SAMPLE, "images": images, "annotations": annotations}
    test_coco.write(tmp_path, content)
    done = sa_engine("import", "instances.json", "--out", "dataset", "--format", "coco")

    # An image is missing: that is said by the exit status, too.
    assert done.returncode == 5, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("found coco in ")
    assert lines[2:] == [
        "2 masks kept",
        "repaired: 1 annotation",
        "  1 clipped-to-image: points lay outside the image; what lay outside is gone "
        "(such as a.png: annotation 11)",
        "dropped: 1 annotation",
        "  1 bad-polygon: no ring with 3 points or more, in pairs of finite numbers "
        "(such as a.png: annotation 10)",
        "images: 1 image",
        "  1 image-file-missing: no such file in the image folder (such as gone.png)",
        "1 box has no mask: add --masks-from-boxes to let the model segment them",
        "named in dataset/import-report.json",
    ]


def test_masks_from_boxes(sa_engine: Run, tmp_path: Path, coco: Path, small_model: Path) -> None:
    annotation = {**test_coco.SAMPLE["annotations"][0], "segmentation": []}
    test_coco.write(tmp_path, {**test_coco.SAMPLE, "annotations": [annotation]})
    model = ("--checkpoint", small_model, "--precision", "fp32", "--device", "cpu")
    done = sa_engine("import", coco, "--out", "dataset", "--masks-from-boxes", *model)

    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "dataset" / "import-report.json").read_bytes())
    made = report["boxes"]["segmented"]
    lost = report["masks"]["dropped"].get("box-without-area", {"count": 0})["count"]
    # The weights are random: either a mask came of it, or it is said that none did.
    assert made + lost == 1
    assert report["masks"]["kept"] == made
    assert report["boxes"]["without_masks"] == 0
    assert sa_engine("verify", "dataset").returncode == 0


def test_an_import_that_reads_nothing_is_no_success(
    sa_engine: Run, tmp_path: Path, coco: Path
) -> None:
    """Captions hold no region; a map that is cut is a file of annotations less."""
    captions = [{"id": 1, "image_id": image["id"], "caption": "a cat"} for image in _images()]
    test_coco.write(tmp_path, {**test_coco.SAMPLE, "annotations": captions})
    done = sa_engine("import", coco, "--out", "captions")
    assert done.returncode == 3
    assert done.stdout.splitlines()[2:] == [
        "0 masks kept",
        "beside the masks: 2 items",
        "  2 captions: of whole images, kept as their attributes (such as a.png: annotation 1)",
        "no mask and no box could be read",
    ]

    folder = test_label_images.write_masks(tmp_path)
    (folder / "a.png").write_bytes((folder / "a.png").read_bytes()[:60])
    done = sa_engine("import", folder, "--format", "masks", "--out", "maps")
    assert done.returncode == 3
    assert "1 bad-file: the file of this image's annotations cannot be read" in done.stdout


def _images() -> list[dict[str, Any]]:
    images: list[dict[str, Any]] = test_coco.SAMPLE["images"]
    return images


@pytest.mark.parametrize(
    ("line", "status", "message"),
    [
        ("import none.json --out x", 2, "there is no none.json"),
        ("import strange.json --out x", 2, "cannot tell the format of strange.json"),
        ("import cut.json --out x --format coco", 1, "it was cut short"),
        ("import cut.json --out x", 2, "cannot tell the format of cut.json"),
        ("import instances.json --out x --images none", 2, "there is no none"),
        ("export none --format coco --out x", 2, "not a dataset"),
        ("export none --format coco --out x --min-iou 2", 2, "not in the range"),
        ("merge --out x", 2, "no dataset: give those that are to be one"),
        ("split none --val 0.1", 2, "not a dataset"),
        ("split none --val 7", 2, "between 0 and 1"),
        ("verify none", 2, "not a dataset"),
    ],
)
def test_errors_are_said_in_a_line(
    tmp_path: Path,
    coco: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    line: str,
    status: int,
    message: str,
) -> None:
    (tmp_path / "cut.json").write_text('{"images": [')
    (tmp_path / "strange.json").write_text("[1]")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        main(line.split())

    said = capsys.readouterr()
    assert (stopped.value.code, said.out) == (status, "")
    assert message in said.err
    assert said.err.splitlines()[-1].startswith("Error: ")
    assert not (tmp_path / "x").exists()


def test_damage_is_listed(sa_engine: Run, tmp_path: Path, coco: Path) -> None:
    sa_engine("import", coco, "--out", "dataset")
    path = tmp_path / "dataset" / "sa_000000.tar"
    data = bytearray(path.read_bytes())
    data[700] ^= 1
    path.write_bytes(data)

    done = sa_engine("verify", "dataset")
    assert done.returncode == 1
    assert "sa_000000.tar: checksum:" in done.stdout
    assert "1 problem in shards 0" in done.stderr


def test_several_people_in_label_studio(sa_engine: Run, tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        save_picture(tmp_path / name)
    test_label_studio.write(tmp_path)
    done = sa_engine("import", "export.json", "--out", "dataset")

    assert done.returncode == 0, done.stderr
    assert "5 masks kept" in done.stdout
    assert "1 cancelled: the annotator skipped or cancelled it" in done.stdout
