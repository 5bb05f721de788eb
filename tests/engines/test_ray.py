"""`--executor ray` on real raylets: a lost worker, and a lost machine, change no byte."""

import os
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
from PIL import Image

from sa_engine.dataset.status import read_status
from tests.cli.conftest import command_line
from tests.support.raylets import RayCluster
from tests.support.same_bytes import content

NUM_SHARDS = 5


def write_pictures(folder: Path) -> Path:
    folder.mkdir()
    random = np.random.default_rng(1)
    for number in range(2 * NUM_SHARDS):
        coarse = random.integers(0, 256, (9, 12, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((120, 90)).save(folder / f"{number:02}.png")
    return folder


def test_a_killed_worker_and_a_lost_machine_change_no_byte(
    ray_cluster: RayCluster, small_model: Path, tmp_path: Path
) -> None:
    options = [
        *("--images", str(write_pictures(tmp_path / "pictures")), "--checkpoint", str(small_model)),
        *("--points-per-side", "24", "--images-per-shard", "2", "--precision", "fp32"),
        *("--device", "cpu", "--no-images"),
    ]
    dataset = tmp_path / "dataset"
    cluster = ("--executor", "ray", "--ray-address", ray_cluster.address, "--workers", "2")

    def wait_for_images(count: int) -> None:
        limit = time.monotonic() + 240
        while not (dataset / "manifest.json").exists() or read_status(dataset).num_done < count:
            assert driver.poll() is None, driver.communicate()
            assert time.monotonic() < limit
            time.sleep(0.1)

    with subprocess.Popen(
        [*ray_cluster.inside, *command_line("auto", *options, "--out", dataset, *cluster)],
        env=ray_cluster.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as driver:
        wait_for_images(1)
        os.kill(ray_cluster.workers()[0], signal.SIGKILL)
        wait_for_images(4)
        ray_cluster.lose_second()
        said, noted = driver.communicate(timeout=400)
    assert driver.returncode == 0, noted
    assert "10 images" in said
    assert "a worker was lost" in noted
    whole = subprocess.run(
        command_line("auto", *options, "--out", tmp_path / "whole"),
        env=ray_cluster.environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert whole.returncode == 0, whole.stderr
    assert content(dataset) == content(tmp_path / "whole")
