"""What may become of a list of images, and what may not."""

from pathlib import Path

import pyarrow as pa
import pytest

from sa_engine.dataset.folder.base import LocalFolder
from sa_engine.dataset.sources.frozen import freeze
from sa_engine.dataset.sources.growth import list_change
from sa_engine.dataset.sources.source_list import Source, SourceList


def listing(*names: str, root: Path | str) -> SourceList:
    raw = [name.encode() for name in names]
    return SourceList(pa.array(raw, pa.large_binary()), root=str(root).encode())


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("b", "c"):
        (folder / name).write_bytes(b"x")
    return folder


@pytest.fixture
def folder(tmp_path: Path, photos: Path) -> LocalFolder:
    out = LocalFolder(tmp_path / "out")
    out.path.mkdir()
    freeze(out, listing("b", "c", root=photos), images_per_shard=4)
    return out


def test_new_images_come_after_the_old_ones(folder: LocalFolder, photos: Path) -> None:
    change = list_change(folder, listing("a", "b", "c", "d", root=photos))
    assert change.problem == ""
    assert change.grown is not None
    assert [source.name for source in change.grown] == ["b", "c", "a", "d"]
    assert change.grown[2].uri == str(photos / "a")
    assert list_change(folder, listing("b", "c", root=photos)).grown is None


def test_vanished_images_keep_their_places(folder: LocalFolder, photos: Path) -> None:
    (photos / "b").unlink()
    change = list_change(folder, listing("c", "d", root=photos))
    assert change.grown is not None
    assert [source.name for source in change.grown] == ["b", "c", "d"]


def test_what_cannot_go_on_is_told(folder: LocalFolder, photos: Path) -> None:
    fewer = list_change(folder, listing("c", "d", root=photos))
    assert fewer.problem == "1 of its 2 images are not among the 2 given now, 'b' among them"
    others = list_change(folder, listing("x", "y", root=photos))
    assert others.problem == "none of its 2 images is among those given now"
    moved = list_change(folder, listing("b", "c", root="/moved"))
    assert moved.problem == f"its images were listed from {photos}, now /moved"
    here = [Source("/elsewhere/b", "b"), Source(str(photos / "c"), "c")]
    there = listing("b", "c", root="")
    freeze(folder, there, images_per_shard=4)
    assert "lie elsewhere now" in list_change(folder, here).problem


def test_members_of_tars_and_odd_names_grow_too(tmp_path: Path) -> None:
    out = LocalFolder(tmp_path)
    old = [Source("/t.tar!x", "t.tar!x", 512, 3), Source("/caf\udce9", "caf\\xe9")]
    freeze(out, SourceList.of(old), images_per_shard=1)
    new = [Source("/t.tar!y", "t.tar!y", 1536, 4), Source("/n", "n")]
    change = list_change(out, SourceList.of([*new, *old]))
    assert change.grown is not None
    assert list(change.grown) == [*old, *new]
