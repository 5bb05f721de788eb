import json
import os
import random
import re
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from sa_engine.dataset.folder.base import LocalFolder
from sa_engine.dataset.manifest import Manifest, open_output, read_manifest
from sa_engine.dataset.records import ImageRecord, MaskRecord, Stage
from sa_engine.dataset.shards.stats import read_stats
from sa_engine.dataset.shards.workspace import find_workspaces
from sa_engine.dataset.shards.writer import (
    ShardWriter,
    clear_scratch,
    discard_shard,
    pending_shards,
)
from sa_engine.dataset.sources.source_list import Source
from sa_engine.errors import DamagedError

Maker = Callable[..., Path]
ImageOf = Callable[..., tuple[ImageRecord, bytes | None]]

NAMES = ("sa_000000.tar", "sa_000000.parquet")
SEEDS = range(12)


def content(folder: Path, names: tuple[str, ...] = NAMES) -> list[bytes]:
    return [(folder / name).read_bytes() for name in names]


def begin(out: Path, num_images: int = 12) -> Manifest:
    sources = [
        Source(f"/photos/photo {k:03d}.png", f"photo {k:03d}.png") for k in range(num_images)
    ]
    plan = Manifest(stage=Stage.AUTOMATIC, num_images=num_images, images_per_shard=num_images)
    return open_output(out, plan, sources)


def add_until(writer: ShardWriter, image_of: ImageOf, last: int) -> None:
    while (image_id := writer.next_image_id) is not None and image_id <= last:
        writer.add(*image_of(image_id, image_id - 1), seconds=0.25)


def test_a_tar_as_sa1b_has_it(tmp_path: Path, make_dataset: Maker) -> None:
    out = make_dataset(tmp_path / "d", SEEDS, images_per_shard=12)
    with tarfile.open(out / "sa_000000.tar") as archive:
        members = archive.getmembers()
        text = archive.extractfile("sa_1.json")
        assert text is not None
        data = json.loads(text.read())
    # Seeds 4 and 9 are failures: they have a row and no member.
    ids = [k for k in range(1, 13) if k not in (5, 10)]
    assert [m.name for m in members] == [f"sa_{k}.{e}" for k in ids for e in ("png", "json")]
    assert {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode, m.type) for m in members} == {
        (0, 0, 0, "", "", 0o644, tarfile.REGTYPE)
    }
    assert data["image"] == {"image_id": 1, "width": 24, "height": 16, "file_name": "sa_1.png"}
    assert list(data["annotations"][0]) == [
        "id", "segmentation", "bbox", "area", "predicted_iou", "stability_score", "crop_box",
        "point_coords", "stage",
    ]  # fmt: skip
    assert [item["id"] for item in data["annotations"]] == [1_000_001, 1_000_002]
    assert data["annotations"][0]["stage"] == "automatic"
    assert data["annotations"][0]["segmentation"]["size"] == [16, 24]


def test_rows_and_stats(tmp_path: Path, make_dataset: Maker, image_of: ImageOf) -> None:
    out = make_dataset(tmp_path / "d", SEEDS, images_per_shard=12)
    rows = pq.read_table(out / "sa_000000.parquet").to_pylist()
    assert [row["status"] for row in rows] == ["failed" if k % 5 == 4 else "ok" for k in SEEDS]
    assert rows[4]["error"] == "truncated: the file ends too early"
    assert rows[4]["image_offset"] is None and rows[4]["annotations"] == []
    with (out / "sa_000000.tar").open("rb") as file:
        file.seek(rows[7]["image_offset"])
        assert file.read(rows[7]["image_size"]) == image_of(8, 7)[1]
    stats = read_stats(LocalFolder(out), 0)
    assert stats is not None
    assert (stats.num_images, stats.num_ok, stats.num_masks) == (12, 10, 20)
    assert stats.num_failed == {"truncated": 2} and stats.seconds == 3.0
    assert stats.tar.num_bytes == (out / "sa_000000.tar").stat().st_size
    assert sorted(path.name for path in out.iterdir()) == [
        "README.md", "inputs.parquet", "inputs.spare.parquet",
        "manifest.json", "manifest.spare.json",
        "sa_000000.parquet", "sa_000000.tar", "sa_000000_stats.json",
    ]  # fmt: skip


def test_without_images_the_json_stays(tmp_path: Path, make_dataset: Maker) -> None:
    out = make_dataset(tmp_path / "d", SEEDS, images_per_shard=12, with_images=False)
    with tarfile.open(out / "sa_000000.tar") as archive:
        assert archive.getnames() == [f"sa_{k}.json" for k in range(1, 13) if k not in (5, 10)]
    row = pq.read_table(out / "sa_000000.parquet").to_pylist()[0]
    assert row["file_name"] == "sa_1.png" and row["image_offset"] is None


def test_interrupted_anywhere_the_bytes_are_the_same(
    tmp_path: Path, make_dataset: Maker, image_of: ImageOf
) -> None:
    whole = make_dataset(tmp_path / "whole", SEEDS, images_per_shard=12)
    out = tmp_path / "parts"
    manifest = begin(out)
    for last in (0, 1, 1, 5, 11):
        with ShardWriter(out, 0, manifest=manifest) as writer:
            add_until(writer, image_of, last)
            assert len(writer.done) == last
        assert pending_shards(out, manifest) == [0]
        assert not (out / "sa_000000.tar").exists()
    with ShardWriter(out, 0, manifest=manifest) as writer:
        assert list(writer.done) == list(range(1, 12))
        add_until(writer, image_of, 12)
        stats = writer.finish()
    assert pending_shards(out, manifest) == [] and clear_scratch(out, manifest)
    assert content(out) == content(whole)
    assert stats == read_stats(LocalFolder(whole), 0)
    assert not (out / ".work").exists()


@pytest.mark.parametrize("lost", ["journal", "tar", "both", "tar tail", "journal tail", "middle"])
def test_scratch_that_a_power_cut_damaged_is_made_good(
    tmp_path: Path, make_dataset: Maker, image_of: ImageOf, lost: str
) -> None:
    whole = make_dataset(tmp_path / "whole", SEEDS, images_per_shard=12)
    out = tmp_path / "parts"
    manifest = begin(out)
    with ShardWriter(out, 0, manifest=manifest) as writer:
        add_until(writer, image_of, 8)
    (work,) = find_workspaces((out / ".work").iterdir())
    journal, growing = work.journal, work.tar
    if lost in ("journal", "both"):
        journal.unlink()
    if lost in ("tar", "both"):
        growing.unlink()
    if lost == "tar tail":
        os.truncate(growing, growing.stat().st_size - 700)
    if lost == "journal tail":
        os.truncate(journal, journal.stat().st_size - 3)
    if lost == "middle":
        data = bytearray(growing.read_bytes())
        data[len(data) // 2] ^= 1
        growing.write_bytes(data)
    with ShardWriter(out, 0, manifest=manifest) as writer:
        kept = len(writer.done)
        add_until(writer, image_of, 12)
        writer.finish()
    expected = {"tar tail": (7, 7), "journal tail": (7, 7), "middle": (1, 7)}.get(lost, (0, 0))
    assert expected[0] <= kept <= expected[1]
    assert content(out) == content(whole)


def test_a_journal_of_other_options_is_not_believed(tmp_path: Path, image_of: ImageOf) -> None:
    out = tmp_path / "d"
    manifest = begin(out)
    with ShardWriter(out, 0, manifest=manifest) as writer:
        add_until(writer, image_of, 8)
    with ShardWriter(out, 0, manifest=replace(manifest, options={"other": 1})) as writer:
        assert len(writer.done) == 0


def test_every_step_of_finishing_may_be_the_last(
    tmp_path: Path, make_dataset: Maker, image_of: ImageOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after each single change to the folder: what is there never looks complete."""
    whole = make_dataset(tmp_path / "whole", SEEDS, images_per_shard=12)

    class Killed(BaseException):
        pass

    real = LocalFolder.publish
    # The tar, the Parquet file and the stats are named in turn; at the last step all are.
    for step in range(4):
        left = [step]

        def publish(self: LocalFolder, finished: Path, name: str, left: list[int] = left) -> None:
            if not left[0]:
                raise Killed
            left[0] -= 1
            real(self, finished, name)

        out = tmp_path / f"step{step}"
        manifest = begin(out)
        monkeypatch.setattr(LocalFolder, "publish", publish)
        with pytest.raises(Killed), ShardWriter(out, 0, manifest=manifest) as writer:
            add_until(writer, image_of, 12)
            writer.finish()
            raise Killed
        monkeypatch.setattr(LocalFolder, "publish", real)
        assert pending_shards(out, manifest) == ([0] if step < 3 else [])
        if step < 3:
            with ShardWriter(out, 0, manifest=manifest) as writer:
                assert writer.next_image_id is None
                writer.finish()
        assert content(out) == content(whole)
        assert clear_scratch(out, manifest)


def test_a_shard_is_made_anew_over_an_older_one(
    tmp_path: Path, make_dataset: Maker, image_of: ImageOf
) -> None:
    out = make_dataset(tmp_path / "d", SEEDS, images_per_shard=12)
    before = content(out)
    manifest = read_manifest(LocalFolder(out))
    with ShardWriter(out, 0, manifest=manifest) as writer:
        add_until(writer, image_of, 4)
        # Until it is finished, readers see the older one.
        assert content(out) == before and pending_shards(out, manifest) == []
        healed, data = image_of(5, 5)
        writer.add(replace(healed, source="photo 004.png"), data)
        add_until(writer, image_of, 12)
        stats = writer.finish()
    assert stats.num_failed == {"truncated": 1}
    assert content(out) != before
    discard_shard(out, 0)
    assert pending_shards(out, manifest) == [0]
    assert [path.name for path in out.iterdir() if path.name.startswith("sa_")] == []


def test_the_journal_of_a_completed_shard_is_not_taken_up(
    tmp_path: Path, image_of: ImageOf
) -> None:
    """A writer killed just before it removes its journal, and a later one that retries failures."""
    manifest = begin(tmp_path)
    failed = replace(image_of(1, 4)[0], source="photo 000.png")
    with ShardWriter(tmp_path, 0, manifest=manifest) as writer:
        writer.add(failed)
        add_until(writer, image_of, 12)
        (work,) = find_workspaces((tmp_path / ".work").iterdir())
        data = work.journal.read_bytes()
        writer.finish()
    work.path.mkdir()
    work.journal.write_bytes(data)
    with ShardWriter(tmp_path, 0, manifest=manifest) as writer:
        assert writer.next_image_id == 1
        add_until(writer, image_of, 12)
        assert writer.finish().num_failed == {"truncated": 2}


def test_images_come_in_their_order(tmp_path: Path, image_of: ImageOf) -> None:
    manifest = begin(tmp_path)
    with ShardWriter(tmp_path, 0, manifest=manifest) as writer:
        with pytest.raises(ValueError, match="image 2 where 1 is next"):
            writer.add(*image_of(2, 1))
        writer.add(*image_of(1, 0))
        with pytest.raises(ValueError, match="image 1 where 2 is next"):
            writer.add(*image_of(1, 0))
        with pytest.raises(ValueError, match="image 2 has not been added"):
            writer.finish()


def test_what_json_or_rows_cannot_hold_is_refused_and_leaves_nothing(
    tmp_path: Path, image_of: ImageOf, mask_of: Callable[..., MaskRecord]
) -> None:
    manifest = begin(tmp_path)
    with ShardWriter(tmp_path, 0, manifest=manifest) as writer:
        record, data = image_of(1, 0)
        bad = replace(mask_of(0), stability_score=float("nan"))
        with pytest.raises(ValueError, match="JSON"):
            writer.add(replace(record, annotations=(bad,)), data)
        for odd in (b"bytes", {1, 2}, float("inf"), object()):
            with pytest.raises(ValueError, match=r"JSON|cannot be stored"):
                writer.add(replace(record, attributes={"odd": odd}), data)
        for large in (2**40, 2**70):
            with pytest.raises(ValueError, match="too large"):
                writer.add(replace(record, width=large), data)
        with pytest.raises(ValueError, match="too large"):
            writer.add(replace(record, annotations=(replace(mask_of(0), area=2**70),)), data)
        add_until(writer, image_of, 12)
        writer.finish()


def test_text_that_utf8_cannot_hold_is_spelled_out(
    tmp_path: Path, image_of: ImageOf, mask_of: Callable[..., MaskRecord]
) -> None:
    manifest = begin(tmp_path, 1)
    record, data = image_of(1, 0)
    mask = replace(mask_of(0), category="a\ud800b", annotator="\udcff")
    with ShardWriter(tmp_path, 0, manifest=manifest) as writer:
        writer.add(replace(record, source="caf\udce9", annotations=(mask,)), data)
        writer.finish()
    row = pq.read_table(tmp_path / "sa_000000.parquet").to_pylist()[0]
    assert row["source"] == "caf\\udce9"
    assert row["annotations"][0]["category"] == "a\\ud800b"
    assert row["annotations"][0]["annotator"] == "\\udcff"


def test_row_groups_are_bounded_and_do_not_depend_on_interruptions(
    tmp_path: Path, make_dataset: Maker
) -> None:
    out = make_dataset(tmp_path / "d", range(150), images_per_shard=150, num_masks=1)
    footer = pq.read_metadata(out / "sa_000000.parquet")
    assert [footer.row_group(k).num_rows for k in range(footer.num_row_groups)] == [64, 64, 22]


def test_what_changed_on_disk_before_the_end_is_noticed(tmp_path: Path, image_of: ImageOf) -> None:
    manifest = begin(tmp_path)
    with ShardWriter(tmp_path, 0, manifest=manifest) as writer:
        add_until(writer, image_of, 12)
        (work,) = find_workspaces((tmp_path / ".work").iterdir())
        with work.tar.open("r+b") as file:
            file.seek(2000)
            byte = file.read(1)
            file.seek(2000)
            file.write(bytes([byte[0] ^ 4]))
        with pytest.raises(DamagedError, match="run the same command again"):
            writer.finish()
    assert pending_shards(tmp_path, manifest) == [0]
    with ShardWriter(tmp_path, 0, manifest=manifest) as writer:
        add_until(writer, image_of, 12)
        writer.finish()


@pytest.mark.parametrize("changed", ["journal", "tar"])
def test_a_journal_that_was_cut_or_a_tar_that_grew_is_noticed(
    tmp_path: Path, image_of: ImageOf, changed: str
) -> None:
    manifest = begin(tmp_path)
    with ShardWriter(tmp_path, 0, manifest=manifest) as writer:
        add_until(writer, image_of, 12)
        (work,) = find_workspaces((tmp_path / ".work").iterdir())
        if changed == "journal":
            os.truncate(work.journal, work.journal.stat().st_size - 3)
        else:
            os.truncate(work.tar, 1 << 20)
        with pytest.raises(DamagedError, match="or its journal changed"):
            writer.finish()
    assert pending_shards(tmp_path, manifest) == [0]


def test_a_writer_that_is_left_holds_no_file_open(tmp_path: Path, image_of: ImageOf) -> None:
    manifest = begin(tmp_path)
    descriptors = Path("/proc/self/fd")
    num_open = len(list(descriptors.iterdir()))
    for last in (3, 6, 9):
        with ShardWriter(tmp_path, 0, manifest=manifest) as writer:
            add_until(writer, image_of, last)
    assert len(list(descriptors.iterdir())) <= num_open


LIMITED = """
# No file may grow over 9,000 bytes: as on a full disk, writes fall short and then fail.
import resource, sys
from sa_engine.dataset.manifest import read_manifest
from sa_engine.dataset.shards.writer import ShardWriter
from sa_engine.dataset.folder.base import LocalFolder
from sa_engine.errors import DatasetError
from tests.dataset.conftest import image_record

manifest = read_manifest(LocalFolder(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000))
try:
    with ShardWriter(sys.argv[1], 0, manifest=manifest) as writer:
        while (image_id := writer.next_image_id) is not None:
            writer.add(*image_record(image_id, image_id - 1), seconds=0.25)
except DatasetError as error:
    print(error)
"""


def test_a_full_disk_is_one_clear_error_and_continuing_works(
    tmp_path: Path, make_dataset: Maker, image_of: ImageOf
) -> None:
    whole = make_dataset(tmp_path / "whole", SEEDS, images_per_shard=12)
    out = tmp_path / "d"
    manifest = begin(out)
    here = Path(__file__)
    code = LIMITED
    done = subprocess.run(
        [sys.executable, "-c", code, str(out)], cwd=here.parents[3], capture_output=True, text=True
    )
    assert re.fullmatch(
        r"cannot write .*shard\.tar: File too large: free some space, and run the same command "
        r"again; it continues\n",
        done.stdout,
    )
    assert not list(out.glob("sa_*"))
    with ShardWriter(out, 0, manifest=manifest) as writer:
        assert 0 < len(writer.done) < 12
        add_until(writer, image_of, 12)
        writer.finish()
    assert content(out) == content(whole)


NURSERY = """
# Imports once, then forks a writer at each "start"; answers "wait PID" with its exit status.
import os, sys, time
import pandas, pyarrow.fs  # which pyarrow would import late, in each child anew
from sa_engine.dataset.shards.claims import claim
from sa_engine.dataset.manifest import read_manifest
from sa_engine.dataset.shards.writer import ShardWriter, pending_shards
from sa_engine.dataset.folder.base import LocalFolder
from tests.dataset.conftest import image_record

def write():
    out = sys.argv[1]
    manifest = read_manifest(LocalFolder(out))
    while pending := pending_shards(out, manifest):
        for index in pending:
            lease = claim(out, index)
            if lease is None:
                time.sleep(0.01)
                continue
            with lease, ShardWriter(out, index, manifest=manifest, lease=lease) as writer:
                while (image_id := writer.next_image_id) is not None:
                    writer.add(*image_record(image_id, image_id - 1), seconds=0.25)
                writer.finish()

image_record(1, 0)
for line in sys.stdin:
    command, _, pid = line.strip().partition(" ")
    if command == "start":
        child = os.fork()
        if not child:
            try:
                write()
            finally:
                os._exit(int(sys.exc_info()[0] is not None))
        print(child, flush=True)
    else:
        print(os.waitstatus_to_exitcode(os.waitpid(int(pid), 0)[1]), flush=True)
"""


def wait_for_work(pid: int, seconds: float) -> None:
    """Until a process has used so much CPU time, or is done."""
    clock = (~pid << 3) | 2  # its CPU clock, as Linux numbers clocks
    while time.clock_gettime(clock) < seconds:
        if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
            return
        time.sleep(0.0005)


def test_killed_at_random_moments_the_dataset_is_byte_identical(
    tmp_path: Path, make_dataset: Maker
) -> None:
    count, per_shard = 160, 40
    names = tuple(f"sa_{k:06d}.{e}" for k in range(4) for e in ("tar", "parquet"))
    whole = make_dataset(tmp_path / "whole", range(count), images_per_shard=per_shard)
    out = tmp_path / "killed"
    out.mkdir()
    for name in (path.name for path in whole.iterdir() if not path.name.startswith("sa_")):
        (out / name).write_bytes((whole / name).read_bytes())
    manifest = read_manifest(LocalFolder(out))
    draw = random.Random(5)
    kills = 0
    here = Path(__file__)
    with subprocess.Popen(
        [sys.executable, "-c", NURSERY, str(out)],
        cwd=here.parents[3],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as nursery:

        def ask(command: str) -> int:
            assert nursery.stdin is not None and nursery.stdout is not None
            print(command, file=nursery.stdin, flush=True)
            return int(nursery.stdout.readline())

        while pending_shards(out, manifest):
            workers = [ask("start") for _ in range(2)]
            # Each may work for some time of its own, whatever else the machine does; the later,
            # the longer, so that the test ends.
            wait_for_work(workers[0], draw.uniform(0, 0.01 + 0.001 * kills))
            for worker in workers:
                os.kill(worker, signal.SIGKILL)
                kills += ask(f"wait {worker}") == -signal.SIGKILL
        assert ask(f"wait {ask('start')}") == 0
    assert kills >= 20
    assert content(out, names) == content(whole, names)
    assert clear_scratch(out, manifest)
    assert sorted(p.name for p in out.iterdir()) == sorted(p.name for p in whole.iterdir())
