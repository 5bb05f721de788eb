"""Photographs, weights and dataset in a store of the S3 protocol, as a user works with them."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from sa_engine.dataset.folder import object_store
from sa_engine.dataset.folder.place import Place
from tests.cli.conftest import Run, command_line, environment
from tests.cli.test_auto import photograph

NUM_IMAGES = 4


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """Good photographs in folders, and a broken one."""
    folder = tmp_path / "photographs"
    (folder / "sub folder").mkdir(parents=True)
    for seed in range(NUM_IMAGES - 1):
        photograph(seed).save(folder / ("sub folder" if seed % 2 else "") / f"ä {seed}.png")
    data = (folder / "ä 0.png").read_bytes()
    (folder / "broken.png").write_bytes(data[: len(data) // 2])
    return folder


def put_folder(folder: Path, place: Place) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            object_store.put(place.join(path.relative_to(folder).as_posix()), path.read_bytes())


def shards(place: Place) -> dict[str, bytes]:
    """Everything but the stats, which tell the time that was taken."""
    found = [key for page in object_store.pages(place, deep=True) for key in page.objects]
    return {
        key.removeprefix(f"{place.key}/"): object_store.read(Place("s3", place.bucket, key))
        for key in found
        if not key.endswith("_stats.json")
    }


def wait_for_work(cache: Path, process: subprocess.Popen[bytes]) -> None:
    """Until an image is done and its shard is not."""
    while not any(path.stat().st_size for path in cache.glob("work/*/sa_*/journal")):
        assert process.poll() is None
        time.sleep(0.005)


def test_a_run_there_is_killed_and_goes_on(
    sa_engine: Run, bucket: str, photographs: Path, small_model: Path, tmp_path: Path
) -> None:
    store = Place("s3", bucket, "")
    put_folder(photographs, store.join("in"))
    object_store.put(store.join("models/mine.safetensors"), small_model.read_bytes())
    url = f"s3://{bucket}/out/réseau"
    options = [
        "--checkpoint", f"s3://{bucket}/models/mine.safetensors", "--points-per-side", "2",
        "--images-per-shard", "2", "--precision", "fp32",
    ]  # fmt: skip
    command = command_line("auto", "--images", f"s3://{bucket}/in/", "--out", url, *options)
    killed = subprocess.Popen(
        command, cwd=tmp_path, env=environment(), start_new_session=True, stderr=subprocess.DEVNULL
    )
    wait_for_work(tmp_path / "cache", killed)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    half = shards(store.join("out/réseau"))
    assert "sa_000001.tar" not in half
    said = sa_engine("status", url)
    assert f"of {NUM_IMAGES} images" in said.stdout and "nobody is at work" in said.stdout

    done = sa_engine("auto", "--images", f"s3://{bucket}/in/", "--out", url, *options)
    assert done.returncode == 3, done.stderr
    assert "3 images" in done.stdout and "1 failed (1 truncated)" in done.stdout

    local = tmp_path / "local"
    assert sa_engine("auto", "--images", photographs, "--out", local, *options).returncode == 3
    there = shards(store.join("out/réseau"))
    here = {path.name: path.read_bytes() for path in local.iterdir()}
    assert {name for name in here if not name.endswith("_stats.json")} == there.keys()
    for name in ("sa_000000.tar", "sa_000000.parquet", "sa_000001.tar", "sa_000001.parquet"):
        assert there[name] == here[name]
    # Nothing else stays, there or here: claims, unfinished shards.
    assert not list((tmp_path / "cache" / "work").iterdir())

    assert sa_engine("verify", url).stdout == f"{url}: no problems\n"
    shown = sa_engine("show", url, "--out", "pictures")
    assert "pictures/index.html: 3 images" in shown.stdout
    assert len(list((tmp_path / "pictures").rglob("*.thumb.jpg"))) == 3


def test_mistakes_are_one_line(sa_engine: Run, bucket: str, photographs: Path) -> None:
    for arguments, message in (
        (("auto", "--images", "s3://nobodys/x", "--out", "y"), "there is no bucket 'nobodys'"),
        (("auto", "--images", f"s3://{bucket}/x", "--out", "y"), f"nothing at s3://{bucket}/x"),
        (("show", "x", "--out", f"s3://{bucket}/y"), "only a local path will do here"),
        (
            ("auto", "--images", photographs, "--out", "y", "--checkpoint", f"s3://{bucket}/m.pth"),
            f"there is no file s3://{bucket}/m.pth",
        ),
    ):
        failed = sa_engine(*arguments)
        assert failed.returncode == 2 and message in failed.stderr
        assert "Traceback" not in failed.stderr
