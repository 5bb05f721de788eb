from pathlib import Path

import pytest

from sa_engine.dataset.shards.workspace import find_workspaces, open_workspace


def test_a_successor_takes_the_folder_away(tmp_path: Path) -> None:
    first, left = open_workspace(tmp_path, 3, 1)
    assert left == [] and first.path.name.startswith("sa_000003.1.")
    first.stats.write_text("first")
    other, _ = open_workspace(tmp_path, 4, 1)
    with first.tar.open("wb") as tar:
        second, left = open_workspace(tmp_path, 3, 2)
        # The first can make nothing, name nothing and take nothing away, only write on.
        with pytest.raises(FileNotFoundError):
            first.parquet.write_bytes(b"")
        with pytest.raises(FileNotFoundError):
            first.stats.replace(tmp_path / "final")
        (tmp_path / "final").write_text("second")
        with pytest.raises(FileNotFoundError):
            (tmp_path / "final").replace(first.old_stats)
        tar.write(b"late")
    assert [each.stats.read_text() for each in left] == ["first"]
    assert left[0].tar.read_bytes() == b"late" and list(second.path.iterdir()) == []
    assert other.path.is_dir() and (tmp_path / "final").read_text() == "second"
    left[0].remove()
    assert find_workspaces(tmp_path.iterdir(), 3) == [second]


def test_a_late_worker_leaves_its_successors_folder(tmp_path: Path) -> None:
    second, _ = open_workspace(tmp_path, 0, 2)
    _first, left = open_workspace(tmp_path, 0, 1)
    assert left == [] and second.path.is_dir()
    # Without a claim one comes after all others.
    third, left = open_workspace(tmp_path, 0, None)
    assert third.number == 3 and len(left) == 2 and not second.path.exists()


def test_what_is_no_workspace_is_left_alone(tmp_path: Path) -> None:
    names = ["sa_000000.lease.1", "sa_000000.blame", "sa_000000.1.xyz", "open.lock"]
    for name in names:
        (tmp_path / name).write_text(name)
    own, left = open_workspace(tmp_path, 0, 1)
    assert left == [] and all((tmp_path / name).is_file() for name in names)
    assert find_workspaces(tmp_path.iterdir()) == [own]
