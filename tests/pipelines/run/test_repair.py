"""Damaged shards end with the bytes that they had, or stay as they are with a reason."""

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sa_engine.cli.main import main
from sa_engine.dataset.combine import merge
from sa_engine.dataset.folder.base import LocalFolder
from sa_engine.dataset.folder.sealed import unseal
from sa_engine.dataset.manifest import read_manifest
from sa_engine.dataset.shards.workspace import find_workspaces
from sa_engine.dataset.shards.writer import discard_shard
from sa_engine.dataset.verify import damaged_shards, verify
from sa_engine.errors import DatasetError, InterruptedRun, UsageError
from sa_engine.pipelines.run.one_image import Annotator, Reading
from sa_engine.pipelines.run.repair import (
    Repair,
    Repaired,
    Unrepaired,
    repair_shards,
)
from sa_engine.pipelines.run.start import run_here
from sa_engine.pipelines.stages.repair import repair_dataset
from tests.pipelines.conftest import journal_bytes
from tests.support.annotators import Bright, Faulty

Begin = Callable[[str], LocalFolder]

STATS, TAR, ROWS = "sa_000001_stats.json", "sa_000001.tar", "sa_000001.parquet"
SHARD = (STATS, TAR, ROWS)


def never() -> bool:
    return False


def no_stage() -> Annotator:
    raise UsageError("the stage was asked for")


def repair(
    folder: LocalFolder,
    annotator: Callable[[], Annotator] = Bright,
    reading: Reading | None = None,
    stop: Callable[[], bool] = never,
) -> list[Repair]:
    return repair_shards(
        folder,
        read_manifest(folder),
        damaged_shards(verify(folder.path)),
        annotator=annotator,
        reading=reading or Reading(),
        stop=stop,
    )


def files(folder: LocalFolder) -> dict[str, bytes]:
    return {name: folder.read(name) for name in folder.names()}


def flip(folder: LocalFolder, name: str, place: float) -> None:
    """Turn one bit, at a share of the file's length."""
    path = folder.path / name
    data = bytearray(path.read_bytes())
    data[int(place * len(data))] ^= 4
    path.write_bytes(data)


def cut(folder: LocalFolder, name: str, place: float) -> None:
    path = folder.path / name
    path.write_bytes(path.read_bytes()[: int(place * path.stat().st_size)])


def lose(folder: LocalFolder, name: str, place: float) -> None:
    (folder.path / name).unlink()


@pytest.fixture
def whole(begin: Begin, photographs: Path) -> LocalFolder:
    """Twelve photographs in three shards; the eighth has failed."""
    (photographs / "photo 07.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    folder = begin("whole")
    run_here(folder, Bright(), reading=Reading())
    assert verify(folder.path) == []
    return folder


@pytest.mark.parametrize("name", SHARD)
@pytest.mark.parametrize("damage", [flip, cut, lose])
@pytest.mark.parametrize("place", [0.0, 0.1, 0.4, 0.9])
def test_one_file_is_restored_without_its_stage(
    whole: LocalFolder, name: str, damage: Callable[..., None], place: float
) -> None:
    before = files(whole)
    damage(whole, name, place)
    assert repair(whole, no_stage) == [Repaired(1, repaired_from(name), is_same=True)]
    after = files(whole)
    if name == STATS:
        # The time that was spent may be lost with them.
        there, here = (unseal(each[STATS], name=STATS)["seconds"] for each in (before, after))
        assert here in (0.0, there)
        before, after = but_for_seconds(before), but_for_seconds(after)
    assert before == after
    assert not (whole.path / ".work").exists() or not find_workspaces(whole.scratch_files())


def but_for_seconds(content: dict[str, bytes]) -> dict[str, Any]:
    """Files by name, the stats without the time that making the shard took."""
    return {**content, STATS: {**unseal(content[STATS], name=STATS), "seconds": 0}}


def repaired_from(name: str) -> Any:
    class AnyOf(str):
        __slots__ = ()

        def __eq__(self, other: object) -> bool:
            return other in WAYS[name]

        __hash__ = str.__hash__

    return AnyOf()


WAYS = {
    STATS: (
        "its stats written again",
        "from its rows and the source images",
        "from its tar and the source images",
    ),
    TAR: ("from its rows and the source images",),
    ROWS: ("from its tar", "from its tar and the source images"),
}


def test_stats_without_a_digest_are_made_of_what_agrees(
    whole: LocalFolder, photographs: Path
) -> None:
    before = files(whole)
    for path in photographs.iterdir():
        path.unlink()
    lose(whole, STATS, 0)
    assert isinstance(repair(whole, no_stage)[0], Repaired)
    after = files(whole)
    assert but_for_seconds(before) == but_for_seconds(after)
    assert verify(whole.path) == []


def test_without_stats_what_does_not_agree_is_made_again(whole: LocalFolder) -> None:
    before = files(whole)
    lose(whole, STATS, 0)
    flip(whole, TAR, 0.2)
    damaged = files(whole)
    (done,) = repair(whole, no_stage)
    assert done == Unrepaired(1, "the stage was asked for")
    assert files(whole) == damaged
    assert repair(whole) == [Repaired(1, "made again by its stage", is_same=None)]
    after = files(whole)
    assert but_for_seconds(before) == but_for_seconds(after)


def test_a_shard_of_which_nothing_is_whole_is_made_again(whole: LocalFolder) -> None:
    before = files(whole)
    flip(whole, TAR, 0.2)
    flip(whole, ROWS, 0.5)
    assert repair(whole) == [Repaired(1, "made again by its stage", is_same=True)]
    after = files(whole)
    assert but_for_seconds(before) == but_for_seconds(after)
    assert verify(whole.path) == []


def test_what_the_stage_makes_otherwise_is_told(whole: LocalFolder) -> None:
    flip(whole, TAR, 0.2)
    flip(whole, ROWS, 0.5)
    (done,) = repair(whole, lambda: Faulty("photo", "box"))
    # Every image fails today: none may become a failure by being repaired.
    assert isinstance(done, Unrepaired) and "must be made again and fails now" in done.why
    (done,) = repair(whole, lambda: Bright(score=0.8))
    assert done == Repaired(1, "made again by its stage", is_same=False)
    assert verify(whole.path) == []


def test_an_image_whose_source_is_gone_leaves_the_shard_as_it_is(
    whole: LocalFolder, photographs: Path
) -> None:
    flip(whole, TAR, 0.2)
    flip(whole, ROWS, 0.5)
    (photographs / "photo 09.png").rename(photographs / "x")
    damaged = files(whole)
    (done,) = repair(whole)
    assert isinstance(done, Unrepaired)
    assert "image 10 (photo 09.png) must be made again and fails now: missing" in done.why
    assert files(whole) == damaged
    # Once it is back, the repair goes on where it stopped.
    (photographs / "x").rename(photographs / "photo 09.png")
    assert repair(whole) == [Repaired(1, "made again by its stage", is_same=True)]


def test_an_image_whose_source_is_another_leaves_the_shard_as_it_is(
    whole: LocalFolder, photographs: Path
) -> None:
    tar = whole.path / TAR
    data = tar.read_bytes()
    tar.write_bytes(data.replace(b"\x89PNG", b"\x89PNg"))
    (photographs / "photo 05.png").write_bytes((photographs / "photo 01.png").read_bytes())
    (done,) = repair(whole)
    assert isinstance(done, Unrepaired)
    assert "image 6 (photo 05.png) is not the file any more that it was made from" in done.why


def test_images_that_were_downsized_come_from_their_sources(begin: Begin) -> None:
    folder, reading = begin("small"), Reading(shortest_side=8)
    run_here(folder, Bright(), reading=reading)
    before = files(folder)
    for place in (0.05, 0.3, 0.6):
        flip(folder, TAR, place)
    (done,) = repair(folder, no_stage, reading)
    assert isinstance(done, Repaired) and done.is_same
    assert files(folder) == before


def test_annotations_alone_need_no_source(begin: Begin, photographs: Path) -> None:
    folder, reading = begin("bare"), Reading(keep_images=False)
    run_here(folder, Bright(), reading=reading)
    before = files(folder)
    for path in photographs.iterdir():
        path.unlink()
    for name in (TAR, ROWS):
        flip(folder, name, 0.3)
        (done,) = repair(folder, no_stage, reading)
        if name == TAR:
            assert isinstance(done, Repaired) and files(folder) == before
        else:
            # The digests of the sources are in the rows alone.
            assert isinstance(done, Repaired | Unrepaired)


def test_what_is_not_made_yet_is_no_damage(begin: Begin) -> None:
    folder = begin("begun")

    def two_images() -> bool:
        return journal_bytes(folder, 1) > 500

    with pytest.raises(InterruptedRun):
        run_here_until(folder, two_images)
    why = "it is not made yet: the command that began it continues it"
    assert repair(folder) == [Unrepaired(1, why), Unrepaired(2, why)]
    assert run_here(folder, Bright(), reading=Reading()).num_new < 7


def run_here_until(folder: LocalFolder, stop: Callable[[], bool]) -> None:
    from sa_engine.pipelines.run.worker import work

    work(folder, Bright(), reading=Reading(), report=lambda event: None, stop=stop)


class Killed(BaseException):
    pass


@pytest.mark.parametrize("names", [(TAR,), (STATS,), (TAR, ROWS), (STATS, TAR)])
def test_every_step_may_be_the_last(
    whole: LocalFolder, monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...]
) -> None:
    before = files(whole)
    for name in names:
        (lose if name == STATS else flip)(whole, name, 0.2)
    changes = allowed = 0

    def counted(name: str) -> Callable[..., None]:
        real = getattr(LocalFolder, name)

        def change(self: LocalFolder, *arguments: object) -> None:
            nonlocal changes
            if changes >= allowed:
                raise Killed
            changes += 1
            real(self, *arguments)

        return change

    with monkeypatch.context() as patched:
        for name in ("publish", "withdraw"):
            patched.setattr(LocalFolder, name, counted(name))
        finished = False
        while not finished and allowed < 10:
            changes = 0
            try:
                results = repair(whole)
                finished = True
            except Killed:
                pass
            allowed += 1
    # Where it was killed while it replaced the files, the journal finished that.
    assert isinstance(results[0], Repaired) and allowed >= 4
    after = files(whole)
    assert but_for_seconds(before) == but_for_seconds(after)
    assert verify(whole.path) == []


def test_random_damage_to_any_file_of_a_shard(whole: LocalFolder) -> None:
    draw = random.Random(4)
    before = files(whole)
    for _ in range(40):
        name = draw.choice([name for name in before if name.startswith("sa_")])
        draw.choice([flip, flip, cut])(whole, name, draw.random())
        repair(whole, no_stage)
        after = files(whole)
        changed = {each for each in before if before[each] != after[each]}
        assert changed <= {name} & {each for each in before if "stats" in each}
        (whole.path / name).write_bytes(before[name])


def test_rows_are_never_proven_by_themselves(whole: LocalFolder) -> None:
    """A bit in a digest or a name decodes as well as the right one."""
    before = files(whole)
    path = whole.path / ROWS
    for place in range(4, 2000, 40):
        data = bytearray(before[ROWS])
        data[place] ^= 2
        path.write_bytes(data)
        (done,) = repair(whole, no_stage)
        assert isinstance(done, Repaired) and files(whole) == before, place


def test_an_image_is_never_proven_by_itself(whole: LocalFolder, photographs: Path) -> None:
    for path in photographs.iterdir():
        path.unlink()
    tar = whole.path / TAR
    data = bytearray(tar.read_bytes())
    data[data.index(b"IDAT") + 6] ^= 1
    tar.write_bytes(data)
    (done,) = repair(whole, no_stage)
    assert isinstance(done, Unrepaired)
    assert tar.read_bytes() == data


def test_a_dataset_of_another_stage_says_what_it_needs(whole: LocalFolder) -> None:
    flip(whole, TAR, 0.2)
    flip(whole, ROWS, 0.5)
    (done,) = repair_dataset(whole.path, [1], stop=never)
    assert isinstance(done, Unrepaired)
    assert "give the command that made it once more, with --repair" in done.why


def test_a_merged_dataset_says_what_makes_it_again(whole: LocalFolder, tmp_path: Path) -> None:
    out = tmp_path / "both"
    merge([whole.path, whole.path], out)
    both = LocalFolder(out)
    before = files(both)
    flip(both, TAR, 0.2)
    flip(both, ROWS, 0.5)
    (done,) = repair_dataset(out, [1], stop=never)
    assert isinstance(done, Unrepaired)
    assert "remove its _stats.json and give the `sa-engine merge`" in done.why
    (out / STATS).unlink()
    merge([whole.path, whole.path], out)
    for name in (TAR, ROWS):
        assert both.read(name) == before[name]
    assert verify(out) == []


def test_a_shard_that_was_discarded_is_not_made_by_a_repair(whole: LocalFolder) -> None:
    discard_shard(whole.path, 1)
    assert isinstance(repair(whole)[0], Unrepaired)


WRITES = ("fsync", "ftruncate", "link", "mkdir", "pwrite", "rename", "replace", "unlink", "utime")


@pytest.mark.parametrize("names", [(TAR,), (STATS, ROWS)])
def test_a_repair_under_write_errors_ends_whole_or_can_be_given_again(
    whole: LocalFolder, monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...]
) -> None:
    before = files(whole)
    count = failing = 0
    is_counting = False

    def counted(real: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object, **options: object) -> object:
            nonlocal count
            count += is_counting
            if is_counting and count == failing:
                raise OSError(28, "No space left on device")
            return real(*arguments, **options)

        return call

    for name in WRITES:
        monkeypatch.setattr(os, name, counted(getattr(os, name)))
    while count >= failing:
        count, failing = 0, failing + 1
        whole.drop_scratch()
        for name in names:
            (lose if name == STATS else flip)(whole, name, 0.2)
        is_counting = True
        try:
            repair(whole)
        except DatasetError as error:
            assert "No space left" in str(error)
        is_counting = False
        # Whatever it left, it is no other shard's damage, and goes once there is room.
        assert {each.shard_index for each in verify(whole.path)} <= {1}
        if verify(whole.path):
            assert isinstance(repair(whole)[0], Repaired)
        assert but_for_seconds(files(whole)) == but_for_seconds(before)
    assert failing > 20


def test_what_a_killed_repair_has_left_goes_with_the_next(whole: LocalFolder) -> None:
    (whole.scratch / "sa_000001.1.0123abcd").mkdir(parents=True)
    (whole.scratch / "sa_000001.1.0123abcd" / "journal").write_bytes(b"half")
    with pytest.raises(SystemExit) as done:
        main(["verify", str(whole.path), "--repair"])
    assert done.value.code == 0
    assert not (whole.path / ".work").exists()
