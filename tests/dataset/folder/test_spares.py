"""The manifest and the frozen list are there twice: either copy restores the other."""

from collections.abc import Callable
from pathlib import Path

import pytest

from sa_engine.dataset.folder.base import LocalFolder
from sa_engine.dataset.folder.spares import restore_from_spares
from sa_engine.dataset.verify import verify

Maker = Callable[..., Path]

FOUR = ("manifest.json", "inputs.parquet", "manifest.spare.json", "inputs.spare.parquet")


@pytest.fixture
def out(tmp_path: Path, make_dataset: Maker) -> Path:
    return make_dataset(tmp_path / "d", range(10), images_per_shard=4)


def test_copies_are_alike(out: Path) -> None:
    for first, second in (FOUR[::2], FOUR[1::2]):
        assert (out / first).read_bytes() == (out / second).read_bytes()
    assert restore_from_spares(LocalFolder(out)) == []


@pytest.mark.parametrize("name", FOUR)
@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "lost"])
def test_each_is_restored_from_the_other(out: Path, name: str, damage: str) -> None:
    path = out / name
    data = path.read_bytes()
    match damage:
        case "flip":
            path.write_bytes(data[:50] + bytes([data[50] ^ 1]) + data[51:])
        case "cut":
            path.write_bytes(data[:-1])
        case "empty":
            path.write_bytes(b"")
        case "lost":
            path.unlink()
    if (name, damage) != ("manifest.json", "lost"):
        assert [problem.file for problem in verify(out)] == [name]
    assert restore_from_spares(LocalFolder(out)) == [name]
    assert path.read_bytes() == data
    assert verify(out) == []


def test_both_damaged_copies_of_a_manifest_stay(out: Path) -> None:
    for name in FOUR[::2]:
        (out / name).write_bytes(b"{}")
    assert restore_from_spares(LocalFolder(out)) == []
    assert [problem.file for problem in verify(out)] == ["manifest.json"]


def test_datasets_without_copies_get_none(out: Path) -> None:
    for name in FOUR[2:]:
        (out / name).unlink()
    assert verify(out) == []
    assert restore_from_spares(LocalFolder(out)) == []
    assert not (out / "manifest.spare.json").exists()


def test_no_dataset(tmp_path: Path) -> None:
    assert restore_from_spares(LocalFolder(tmp_path)) == []
