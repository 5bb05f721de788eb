import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from sa_engine.dataset.manifest import Manifest, open_output
from sa_engine.dataset.shards import liveness
from sa_engine.dataset.shards.claims import Lease, claim, holders
from sa_engine.dataset.sources.source_list import Source
from sa_engine.errors import DatasetError, LeaseLost

HOLDER = """
import sys, time
from sa_engine.dataset.shards.claims import claim
lease = claim(sys.argv[1], 0, beat_s=0.1)
print("held" if lease else "refused", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def out(tmp_path: Path) -> Path:
    sources = [Source(f"/{k}.jpg", f"{k}.jpg") for k in range(4)]
    open_output(tmp_path, Manifest(stage=None, num_images=4, images_per_shard=2), sources)
    return tmp_path


def start_holder(out: Path, code: str = HOLDER) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, str(out)],
        cwd=Path(__file__).parents[3],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def claims(out: Path) -> list[str]:
    return sorted(path.name for path in (out / ".work").glob("*.lease.*"))


def claimed(out: Path, shard_index: int, **options: Any) -> Lease:
    lease = claim(out, shard_index, **options)
    assert lease is not None
    return lease


def test_one_holder_at_a_time(out: Path) -> None:
    with claimed(out, 0) as lease:
        assert claim(out, 0) is None
        with claimed(out, 1) as other:
            lease.check()
            other.check()
            assert [h.shard_index for h in holders(out)] == [0, 1]
            assert {h.pid for h in holders(out)} == {os.getpid()}
    with pytest.raises(LeaseLost):
        lease.check()
    # What was given up is free at once, under a higher number.
    with claimed(out, 0) as again:
        again.check()
        assert claims(out)[-2:] == ["sa_000000.lease.2", "sa_000001.lease.1"]


def test_a_live_process_is_respected_and_a_killed_one_replaced_at_once(out: Path) -> None:
    with start_holder(out) as holder:
        assert holder.stdout is not None and holder.stdin is not None
        assert holder.stdout.readline() == "held\n"
        # Not even the shortest patience takes a shard from a live process of this machine.
        assert claim(out, 0, stale_s=0.0) is None
        holder.send_signal(signal.SIGSTOP)
        time.sleep(0.3)
        assert claim(out, 0, stale_s=0.1) is None
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        assert not holders(out)[0].is_alive
        with claimed(out, 0) as lease:
            lease.check()


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_of_many_that_start_together_one_gets_each_shard(out: Path) -> None:
    for shard_index in (0, 1):
        start_r, start_w = os.pipe()
        done_r, done_w = os.pipe()
        children = []
        for _ in range(8):
            child = os.fork()
            if not child:
                os.close(start_w)
                os.read(start_r, 1)  # until the parent lets go
                held = claim(out, shard_index) is not None
                os.write(done_w, b"held\n" if held else b"refused\n")
                time.sleep(20)
                os._exit(0)
            children.append(child)
        os.close(start_w)
        answers = ""
        while answers.count("\n") < 8:
            answers += os.read(done_r, 100).decode()
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        for descriptor in (start_r, done_r, done_w):
            os.close(descriptor)
        assert sorted(answers.split()) == ["held"] + ["refused"] * 7


def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on this process is on another machine, as far as claims can tell."""
    monkeypatch.setattr(liveness, "_machine", lambda: "another-boot-id")


def test_a_holder_on_another_machine_is_judged_by_its_heartbeat(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with claimed(out, 0, beat_s=0.05) as lease:
        elsewhere(monkeypatch)
        time.sleep(0.5)
        # It beats: ten beats ago it would have been stale.
        assert claim(out, 0, stale_s=0.4) is None
        lease._stop.set()
        lease._thread.join()
        time.sleep(0.5)
        successor = claim(out, 0, stale_s=0.4)
        assert successor is not None
        # The holder finds out before it writes.
        with pytest.raises(LeaseLost, match="another worker has taken over shard 0"):
            lease.check()
        successor.check()
        successor.release()


def test_without_file_locks_the_heartbeat_decides(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(descriptor: int, how: int) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with claimed(out, 0, beat_s=0.05):
        time.sleep(0.3)
        assert holders(out, stale_s=0.25)[0].is_alive
        assert claim(out, 0, stale_s=0.25) is None
    with claimed(out, 0) as again:
        again.check()


def test_without_links_claims_still_work(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(source: Path, target: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    with claimed(out, 0) as lease:
        lease.check()
        assert claim(out, 0) is None
    assert not list((out / ".work").glob("*.tmp"))


def test_a_child_that_outlives_its_parent_does_not_hold_the_shard_for_ever(out: Path) -> None:
    orphaning = """
import os, sys, time
from sa_engine.dataset.shards.claims import claim
lease = claim(sys.argv[1], 0, beat_s=0.1)
child = os.fork()
if not child:
    time.sleep(60)
print(child, flush=True)
sys.stdin.readline()
"""
    with start_holder(out, orphaning) as holder:
        assert holder.stdout is not None
        child = int(holder.stdout.readline())
        holder.kill()
        holder.wait()
        try:
            assert claim(out, 0, stale_s=30) is None
            time.sleep(0.5)
            lease = claim(out, 0, stale_s=0.4)
            assert lease is not None
            lease.release()
        finally:
            os.kill(child, signal.SIGKILL)


def test_a_claim_whose_content_was_lost_is_judged_by_age(out: Path) -> None:
    path = out / ".work/sa_000000.lease.7"
    path.write_bytes(b"\0" * 40)
    assert claim(out, 0, stale_s=60) is None
    os.utime(path, (1, 1))
    with claimed(out, 0) as lease:
        lease.check()
    assert claims(out) == ["sa_000000.lease.7", "sa_000000.lease.8"]


def test_a_complete_shard_is_not_claimed_but_may_be_redone(out: Path) -> None:
    lease = claim(out, 0)
    assert lease is not None
    (out / "sa_000000_stats.json").write_text("{}")
    lease.release()
    assert claims(out) == []
    assert claim(out, 0) is None and claims(out) == []
    with claimed(out, 0, redo=True) as again:
        again.check()
        assert claim(out, 0, redo=True) is None
    assert claims(out) == []


def test_asking_leaves_no_trace(out: Path) -> None:
    for path in (out / ".work").iterdir():
        path.unlink()
    (out / ".work").rmdir()
    assert holders(out) == [] and not (out / ".work").exists()


def test_a_scratch_folder_that_cannot_be_written_is_an_error(out: Path) -> None:
    for path in (out / ".work").iterdir():
        path.unlink()
    (out / ".work").rmdir()
    (out / ".work").write_text("in the way")
    with pytest.raises(DatasetError, match="cannot write"):
        claim(out, 0)


def test_damage_by_a_successor_is_no_damage(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lease = claim(out, 0)
    assert lease is not None
    elsewhere(monkeypatch)
    with pytest.raises(LeaseLost, match="another worker has taken over"), lease:
        os.utime(out / ".work/sa_000000.lease.1", (1e9, 1e9))
        successor = claim(out, 0)
        raise DatasetError("what it was working on is gone")
    assert successor is not None
    successor.check()
    with pytest.raises(DatasetError, match="full"), successor:
        raise DatasetError("the disk is full")


def test_a_late_release_leaves_a_later_claim_of_the_same_number(out: Path) -> None:
    lease = claim(out, 0)
    assert lease is not None
    # The shard was completed by others, its claims removed, and it is made anew.
    (out / "sa_000000_stats.json").write_text("{}")
    (out / ".work/sa_000000.lease.1").unlink()
    with claimed(out, 0, redo=True) as later:
        assert later.number == 1
        lease.release()
        later.check()
        assert holders(out)[0].is_alive


def test_a_claim_that_is_dated_ahead_is_watched(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = out / ".work/sa_000000.lease.1"
    path.write_bytes(b"{}")
    ahead = time.time() + 1e6
    os.utime(path, (ahead, ahead))
    assert claim(out, 0, stale_s=0.3) is None
    time.sleep(0.2)
    os.utime(path, (ahead + 1, ahead + 1))
    assert claim(out, 0, stale_s=0.3) is None
    time.sleep(0.4)
    lease = claim(out, 0, stale_s=0.3)
    assert lease is not None and lease.number == 2
    lease.release()


def test_a_process_of_another_container_is_judged_by_its_heartbeat(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of its id may run here, or not: that says nothing."""
    monkeypatch.setattr(liveness, "_process_space", lambda: "pid:[2]")
    with claimed(out, 0, beat_s=60):
        monkeypatch.setattr(liveness, "_process_space", lambda: "pid:[1]")
        assert claim(out, 0, stale_s=60) is None
        os.utime(out / ".work/sa_000000.lease.1", (1e9, 1e9))
        assert not holders(out)[0].is_alive
        with claimed(out, 0) as successor:
            successor.check()


def test_a_scratch_folder_that_is_cleared_meanwhile_is_made_again(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = liveness.sign
    cleared: list[Path] = []

    def clear_first(descriptor: int) -> None:
        if not cleared:
            cleared.append(out)
            for path in (out / ".work").iterdir():
                path.unlink()
            (out / ".work").rmdir()
        real(descriptor)

    monkeypatch.setattr("sa_engine.dataset.shards.claims.sign", clear_first)
    with claimed(out, 0) as lease:
        lease.check()
    assert cleared
