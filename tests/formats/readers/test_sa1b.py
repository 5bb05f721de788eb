"""SA-1B: a file by the data set's card, in a folder and in a tar."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from sa_engine.formats.detect import detect_format
from sa_engine.formats.readers.sa1b import Sa1bSource
from sa_engine.formats.registry import Format
from tests.support.drawing import rows

SAMPLE: dict[str, Any] = {
    "image": {"image_id": 1, "width": 8, "height": 6, "file_name": "sa_1.jpg"},
    "annotations": [
        {
            "id": 532,
            "segmentation": {"size": [6, 8], "counts": "82V1"},
            "bbox": [1.0, 2.0, 1.0, 1.0],
            "area": 2,
            "predicted_iou": 0.9,
            "stability_score": 0.96,
            "crop_box": [0.0, 0.0, 8.0, 6.0],
            "point_coords": [[1.5, 2.5]],
        }
    ],
}


def write(folder: Path, text: str | None = None) -> Path:
    (folder / "sa_1.json").write_text(json.dumps(SAMPLE) if text is None else text)
    return folder


def write_tar(path: Path) -> Path:
    data = json.dumps(SAMPLE).encode()
    with tarfile.open(path, "w") as archive:
        info = tarfile.TarInfo("sa_1.json")
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))
    return path


@pytest.mark.parametrize("packed", [False, True])
def test_files_by_the_card(tmp_path: Path, packed: bool) -> None:
    path = write_tar(tmp_path / "sa_000000.tar") if packed else write(tmp_path)
    source = Sa1bSource(path)

    assert detect_format(path) is Format.SA_1B
    assert detect_format(tmp_path) is Format.SA_1B
    assert source.image_folder == str(path)
    assert source.images[0].file_name == "sa_1.jpg"
    assert source.size_hw(0) == (6, 8)
    assert source.count(0) == 1
    image = source.read(0, (6, 8))
    (mask,) = image.masks
    assert rows(mask.segmentation) == [
        "........",
        "........",
        ".#......",
        ".#......",
        "........",
        "........",
    ]
    # A model made it, and what it said of it is kept.
    assert mask.stage.value == "automatic"
    assert (mask.predicted_iou, mask.stability_score) == (0.9, 0.96)
    assert mask.point_coords_xy == ((1.5, 2.5),)
    assert mask.crop_box_xywh == (0, 0, 8, 6)
    assert mask.attributes == {"source_id": 532}
    assert image.attributes == {"source_id": 1, "file_name": "sa_1.jpg"}


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"image": {}}', '{"image": {}, "annotations": 3}']
)
def test_a_broken_file(tmp_path: Path, text: str) -> None:
    source = Sa1bSource(write(tmp_path, text))

    assert source.size_hw(0) is None
    assert source.count(0) == 1
    assert [note.reason.value for note in source.read(0, (6, 8)).notes] == ["bad-file"]


def test_records_that_are_none(tmp_path: Path) -> None:
    broken = {**SAMPLE, "annotations": [3, {"id": 1}, {"id": 2, "segmentation": {"counts": "z"}}]}
    image = Sa1bSource(write(tmp_path, json.dumps(broken))).read(0, (6, 8))

    assert sorted(note.reason.value for note in image.notes) == [
        "bad-rle",
        "bad-rle",
        "not-an-annotation",
    ]
