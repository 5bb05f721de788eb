import os
from pathlib import Path

import pytest

from sa_engine.dataset.folder.draft import draft_of, written_whole
from sa_engine.errors import OutputError


def test_a_file_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    final = tmp_path / "new folder" / "x.bin"
    with written_whole(final) as draft:
        draft.write_bytes(b"one")
        assert not final.exists()
    assert final.read_bytes() == b"one"
    with pytest.raises(ZeroDivisionError), written_whole(final) as draft:
        draft.write_bytes(b"two")
        raise ZeroDivisionError
    assert final.read_bytes() == b"one" and list(final.parent.iterdir()) == [final]


@pytest.mark.parametrize(
    ("number", "advice"), [(28, "free some space"), (30, "get write permission"), (5, "see that")]
)
def test_a_failure_says_what_to_do(tmp_path: Path, number: int, advice: str) -> None:
    with (
        pytest.raises(OutputError, match=rf"cannot write .*x: .*: {advice}.*same command again"),
        written_whole(tmp_path / "x"),
    ):
        raise OSError(number, os.strerror(number))
    assert list(tmp_path.iterdir()) == []


def test_drafts_of_the_dead_are_removed_and_those_of_the_living_stay(tmp_path: Path) -> None:
    pid = os.fork()
    if not pid:
        with draft_of(tmp_path / "x") as draft:
            draft.write_bytes(b"half")
            os._exit(0)
    os.waitpid(pid, 0)
    (dead,) = tmp_path.iterdir()
    (tmp_path / ".x.mine.draft").write_text("a file of somebody else")
    with draft_of(tmp_path / "y") as other:
        other.write_bytes(b"")
        assert dead.exists()
        with draft_of(tmp_path / "x") as first, draft_of(tmp_path / "x") as second:
            assert not dead.exists() and first.parent.exists() and second.parent.exists()
    assert [path.name for path in tmp_path.iterdir()] == [".x.mine.draft"]
