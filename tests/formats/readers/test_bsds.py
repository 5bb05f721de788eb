"""BSDS500's MATLAB files, written here by SciPy and read by the engine's own reader."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io

from sa_engine.errors import AnnotationError
from sa_engine.formats.codecs import matfile
from sa_engine.formats.detect import detect_format
from sa_engine.formats.readers.bsds import BsdsSource
from sa_engine.formats.registry import Format
from tests.support.drawing import rows

LEFT_RIGHT = np.array([[1, 1, 2, 2]] * 3, dtype=np.uint16)
THREE = np.array([[1, 1, 1, 1], [3, 3, 2, 2], [3, 1, 2, 2]], dtype=np.uint16)


def ground_truth(*partitions: Any) -> dict[str, Any]:
    """`groundTruth` as in the archive: a 1 x N cell array of structs."""
    cells = np.empty((1, len(partitions)), dtype=object)
    for place, labels in enumerate(partitions):
        edges = np.zeros(np.shape(labels), dtype=bool)
        cells[0, place] = {"Segmentation": labels, "Boundaries": edges}
    return {"groundTruth": cells}


def write(folder: Path, *partitions: Any, compress: bool = True) -> Path:
    path = folder / "groundTruth" / "train" / "2092.mat"
    path.parent.mkdir(parents=True, exist_ok=True)
    given = partitions or (LEFT_RIGHT, THREE)
    scipy.io.savemat(path, ground_truth(*given), do_compression=compress)
    return path


@pytest.mark.parametrize("compress", [True, False])
def test_partitions_of_several_people(tmp_path: Path, compress: bool) -> None:
    write(tmp_path, compress=compress)
    (tmp_path / "images").mkdir()
    source = BsdsSource(tmp_path / "groundTruth")

    assert detect_format(tmp_path) is Format.BSDS
    assert source.image_folder == str(tmp_path / "images")
    assert source.images[0].any_ending == ("train/2092",)
    assert source.size_hw(0) == (3, 4)
    assert source.count(0) == 5
    image = source.read(0, (3, 4))
    assert [(m.annotator, m.attributes["region"], rows(m.segmentation)) for m in image.masks] == [
        ("1", 1, ["##..", "##..", "##.."]),
        ("1", 2, ["..##", "..##", "..##"]),
        # One region can be several pieces.
        ("2", 1, ["####", "....", ".#.."]),
        ("2", 2, ["....", "..##", "..##"]),
        ("2", 3, ["....", "##..", "#..."]),
    ]
    assert image.attributes == {"num_annotators": 2}


def test_a_person_whose_partition_has_another_size(tmp_path: Path) -> None:
    path = write(tmp_path, LEFT_RIGHT, THREE[:2])
    image = BsdsSource(path).read(0, (3, 4))

    assert len(image.masks) == 2
    assert [(n.reason.value, n.count) for n in image.notes] == [("image-size-differs", 3)]


def test_labels_stored_as_doubles(tmp_path: Path) -> None:
    path = write(tmp_path, THREE.astype(np.float64))

    assert BsdsSource(path).count(0) == 3


@pytest.mark.parametrize(
    "content",
    [
        {"other": np.zeros(3)},
        {"groundTruth": np.zeros((2, 2))},
        {"groundTruth": np.array([[{"Boundaries": np.zeros(2)}]], dtype=object)},
        ground_truth(THREE + 0.5),
        ground_truth(np.full((2, 2), np.nan)),
        ground_truth(np.zeros((0, 0))),
    ],
)
def test_files_without_partitions(tmp_path: Path, content: dict[str, Any]) -> None:
    path = tmp_path / "a.mat"
    scipy.io.savemat(path, content)
    source = BsdsSource(path)

    assert source.size_hw(0) is None
    assert source.count(0) == 1
    assert [note.reason.value for note in source.read(0, (3, 4)).notes] == ["bad-file"]


def test_matlab_values_of_every_kind(tmp_path: Path) -> None:
    path = tmp_path / "a.mat"
    numbers = {
        kind: np.arange(6).reshape(2, 3).astype(kind)
        for kind in ("i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8")
    }
    scipy.io.savemat(path, {**numbers, "text": "hello", "one": {"a": 1, "b": [2.5, 3.5]}})
    found = matfile.parse(path.read_bytes())

    for kind, values in numbers.items():
        assert np.array_equal(found[kind], values), kind
    assert found["text"] is None
    assert found["one"]["a"].tolist() == [[1]]
    assert found["one"]["b"].tolist() == [[2.5, 3.5]]


HEADER = b"MATLAB 5.0 MAT-file".ljust(124, b" ") + b"\x00\x01IM"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (HEADER + struct.pack("<II", 14, 1 << 31), "an element of 2147483648 bytes where 0"),
        (HEADER + struct.pack("<II", 15, 4) + b"nope", "it is damaged"),
        (b"hello", "not a MATLAB file"),
        (b"MATLAB 7.3 MAT-file", "version 7.3"),
    ],
)
def test_lies_are_refused(data: bytes, message: str) -> None:
    with pytest.raises(AnnotationError, match=message):
        matfile.parse(data)


def test_bombs_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.mat"
    scipy.io.savemat(path, {"zeros": np.zeros((1000, 1000))}, do_compression=True)
    assert matfile.parse(path.read_bytes())["zeros"].shape == (1000, 1000)

    monkeypatch.setattr(matfile, "MAX_BYTES", 1_000_000)
    with pytest.raises(AnnotationError, match="beyond the limit"):
        matfile.parse(path.read_bytes())


def test_the_reader_agrees_with_scipy(shared_data: Path) -> None:
    for path in sorted((shared_data / "dev" / "bsds500" / "groundTruth").glob("*.mat"))[:3]:
        expected = scipy.io.loadmat(path)["groundTruth"][0]
        found = matfile.parse(path.read_bytes())["groundTruth"]
        assert len(found) == len(expected)
        for ours, theirs in zip(found, expected, strict=True):
            assert np.array_equal(ours["Segmentation"], theirs["Segmentation"][0, 0])
