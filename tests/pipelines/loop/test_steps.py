"""Steps on disk: made once, taken up where they stopped, known by what they depend on."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from sa_engine.errors import DamagedError, NotDone
from sa_engine.pipelines.loop.steps import (
    Clock,
    Steps,
    file_digest,
    listing,
    listing_digest,
    step_key,
    tree_digest,
)
from tests.support.drawing import save_picture
from tests.support.scene_datasets import write_scenes


class Maker:
    """Writes one file; stops with an error the first `failures` times."""

    def __init__(self, failures: int = 0) -> None:
        self.calls, self._failures = 0, failures

    def __call__(self, folder: Path, clock: Clock) -> Mapping[str, Any]:
        self.calls += 1
        with (folder / "part").open("a") as file:
            file.write("x")
        if self.calls <= self._failures:
            raise RuntimeError("killed")
        (folder / "made").write_text("made")
        return {"files": {"made": file_digest(folder / "made")}, "parts": self.calls}


def test_a_step_is_made_once(tmp_path: Path) -> None:
    steps, maker = Steps(tmp_path), Maker()
    with pytest.raises(NotDone, match="a thing has not been made yet") as missing:
        steps.find("thing", {"a": 1}, label="a thing")
    assert missing.value.seconds is None
    first, made = steps.make("thing", {"a": 1}, maker, label="a thing")
    again, made_again = steps.make("thing", {"a": 1}, maker, label="a thing")
    assert (made, made_again, maker.calls) == (True, False, 1)
    assert first == again == steps.find("thing", {"a": 1}, label="a thing")
    assert first.id == f"thing-{step_key({'a': 1})}"
    assert first.folder == tmp_path / first.id
    other, made = steps.make("thing", {"a": 2}, maker, label="another thing")
    assert made
    assert other.folder != first.folder


def test_a_step_that_was_stopped_is_taken_up(tmp_path: Path) -> None:
    steps, maker = Steps(tmp_path), Maker(failures=2)
    for _ in range(2):
        with pytest.raises(RuntimeError):
            steps.make("thing", {}, maker, label="a thing")
    with pytest.raises(NotDone) as missing:
        steps.find("thing", {}, label="a thing")
    assert missing.value.seconds is not None
    step, _ = steps.make("thing", {}, maker, label="a thing")
    assert (step.folder / "part").read_text() == "xxx"
    # The time of every run counts.
    assert step.seconds >= missing.value.seconds


@pytest.mark.parametrize("name", ["made", "step.json"])
def test_a_changed_file_is_found(tmp_path: Path, name: str) -> None:
    steps = Steps(tmp_path)
    step, _ = steps.make("thing", {}, Maker(), label="a thing")
    path = step.folder / name
    path.write_bytes(path.read_bytes().replace(b"a", b"b"))
    with pytest.raises(DamagedError, match=r"delete|damaged"):
        steps.make("thing", {}, Maker(), label="a thing")


def test_digests_follow_content(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        save_picture(tmp_path / "one" / name)
        save_picture(tmp_path / "two" / name)
    one, two = (listing(str(tmp_path / name)) for name in ("one", "two"))
    # The same pictures, wherever they lie.
    assert listing_digest(one) == listing_digest(two)
    assert tree_digest(tmp_path / "one") == tree_digest(tmp_path / "two")
    save_picture(tmp_path / "two" / "b.png", (9, 9))
    assert listing_digest(one) != listing_digest(listing(str(tmp_path / "two")))
    assert tree_digest(tmp_path / "one") != tree_digest(tmp_path / "two")


def test_a_dataset_stands_for_its_images(tmp_path: Path) -> None:
    write_scenes(tmp_path / "scenes", range(3))
    names = [source.name for source in listing(str(tmp_path / "scenes"))]
    assert names == [f"sa_000000.tar!sa_{number}.png" for number in (1, 2, 3)]
