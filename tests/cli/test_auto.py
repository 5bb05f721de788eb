"""`sa-engine auto` as a user runs it: results, bad input, interruption."""

import contextlib
import json
import os
import signal
import subprocess
import tarfile
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from tests.cli.conftest import Run, command_line, environment


def photograph(seed: int, size_wh: tuple[int, int] = (96, 64)) -> Image.Image:
    """Coloured boxes on a gradient."""
    draw = np.random.default_rng(seed)
    width, height = size_wh
    pixels = np.zeros((height, width, 3), dtype=np.uint8)
    pixels[...] = np.linspace(0, 160, width, dtype=np.uint8)[None, :, None]
    for _ in range(4):
        x, y = draw.integers(0, width - 20), draw.integers(0, height - 20)
        pixels[y : y + 18, x : x + 18] = draw.integers(0, 256, 3)
    return Image.fromarray(pixels)


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """Good and bad files under names that make trouble."""
    folder = tmp_path / "my photographs"
    (folder / "sub.folder").mkdir(parents=True)
    photograph(1).save(folder / "a.b.c.jpg")
    photograph(2).save(folder / "mit Umlaut ä.png")
    photograph(3).save(folder / "sub.folder" / "grau.png")
    (folder / "broken.jpg").write_bytes((folder / "a.b.c.jpg").read_bytes()[:400])
    (folder / "notes.txt").write_text("not an image")
    return folder


def options(folder: Path, out: Path, model: Path) -> list[str | Path]:
    """A small, quick run."""
    return [
        "auto", "--images", folder, "--out", out, "--checkpoint", model,
        "--points-per-side", "4", "--images-per-shard", "2", "--precision", "fp32",
    ]  # fmt: skip


def test_a_folder_becomes_a_dataset(
    sa_engine: Run, photographs: Path, small_model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    done = sa_engine(*options(photographs, out, small_model))
    assert done.returncode == 3, done.stderr
    assert "3 images" in done.stdout
    assert "1 failed (1 truncated)" in done.stdout
    assert "failed: broken.jpg" in done.stderr

    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["stage"] == "automatic"
    assert manifest["model"]["name"] == "random"
    assert (manifest["num_images"], manifest["num_shards"]) == (4, 2)
    assert manifest["options"]["points-per-side"] == 4

    rows = pq.read_table([out / "sa_000000.parquet", out / "sa_000001.parquet"]).to_pylist()
    assert [row["image_id"] for row in rows] == [1, 2, 3, 4]
    assert [row["source"] for row in rows] == [
        "a.b.c.jpg", "broken.jpg", "mit Umlaut ä.png", "sub.folder/grau.png"
    ]  # fmt: skip
    assert [row["status"] for row in rows] == ["ok", "failed", "ok", "ok"]

    with tarfile.open(out / "sa_000000.tar") as shard:
        names = shard.getnames()
        text, picture = shard.extractfile("sa_1.json"), shard.extractfile("sa_1.jpg")
        assert text is not None and picture is not None
        record = json.load(text)
        stored = picture.read()
    assert names == ["sa_1.jpg", "sa_1.json"]
    assert stored == (photographs / "a.b.c.jpg").read_bytes()
    assert record["image"] == {
        "image_id": 1, "width": 96, "height": 64, "file_name": "sa_1.jpg"
    }  # fmt: skip
    assert record["annotations"]
    for annotation in record["annotations"]:
        mask = coco_mask.decode(annotation["segmentation"])
        assert mask.shape == (64, 96)
        assert annotation["area"] == mask.sum() > 0
        assert annotation["bbox"] == coco_mask.toBbox(annotation["segmentation"]).tolist()
        assert annotation["stage"] == "automatic"
        assert annotation["crop_box"] == [0, 0, 96, 64]
        assert len(annotation["point_coords"]) == 1


def test_what_failed_is_tried_again_when_asked_for_and_nothing_else(
    sa_engine: Run, photographs: Path, small_model: Path, tmp_path: Path
) -> None:
    out, calm = tmp_path / "out", tmp_path / "calm"
    done = sa_engine(*options(photographs, out, small_model))
    assert (done.returncode, "with --retry-failed" in done.stderr) == (3, True)
    photograph(4).save(photographs / "broken.jpg")
    # Nobody needs the others any more: what is known of them stays.
    kept = {path: path.read_bytes() for path in photographs.rglob("*.*g") if path.is_file()}
    for path in kept:
        if path.name != "broken.jpg":
            path.write_bytes(b"gone")
    done = sa_engine(*options(photographs, out, small_model), "--retry-failed", "--workers", "2")
    assert done.returncode == 0, done.stderr
    assert "4 images" in done.stdout
    assert "3 of them done before; 1 tried again, 0 still fail" in done.stdout
    for path, data in kept.items():
        path.write_bytes(data)
    assert sa_engine(*options(photographs, calm, small_model)).returncode == 0
    for path in sorted(calm.iterdir()):
        if not path.name.endswith("_stats.json"):
            assert path.read_bytes() == (out / path.name).read_bytes(), path.name


def test_damaged_shards_are_made_anew_with_the_right_model_alone(
    sa_engine: Run, photographs: Path, small_model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    sa_engine(*options(photographs, out, small_model))
    before = {path.name: path.read_bytes() for path in out.iterdir()}

    def damage() -> None:
        for name in ("sa_000001.tar", "sa_000001.parquet"):
            data = bytearray((out / name).read_bytes())
            data[len(data) // 3] ^= 1
            (out / name).write_bytes(data)

    damage()
    done = sa_engine("verify", out, "--repair")
    assert done.returncode == 1
    assert "sa_000001.tar: checksum" in done.stdout
    assert "shard 1: not repaired: the model that made the masks, random, does not" in done.stderr
    (tmp_path / "other.safetensors").write_bytes(small_model.read_bytes() + b"x")
    done = sa_engine("verify", out, "--repair", "--checkpoint", tmp_path / "other.safetensors")
    assert (done.returncode, "which made the masks, has" in done.stderr) == (1, True)
    done = sa_engine("verify", out, "--repair", "--checkpoint", small_model)
    assert done.returncode == 0, done.stderr
    assert "shard 1: repaired: made again by its stage" in done.stdout
    after = {path.name: path.read_bytes() for path in out.iterdir()}
    changed = {name for name in {*before, *after} if before.get(name) != after.get(name)}
    assert changed <= {"sa_000001_stats.json"}  # the time that it took
    damage()
    done = sa_engine(*options(photographs, out, small_model), "--repair")
    assert (done.returncode, "1 damaged shard made again" in done.stdout) == (3, True)
    assert sa_engine("verify", out).returncode == 0


def test_other_options_on_the_same_output_are_named(
    sa_engine: Run, photographs: Path, small_model: Path, tmp_path: Path
) -> None:
    arguments = options(photographs, tmp_path / "out", small_model)
    assert sa_engine(*arguments).returncode == 3
    again = sa_engine(*arguments)
    assert (again.returncode, "4 of them done before" in again.stdout) == (3, True)
    other = sa_engine(*arguments, "--box-nms-thresh", "0.5")
    assert other.returncode == 2
    assert other.stderr.splitlines()[-1].startswith("Error:")
    assert "--box-nms-thresh 0.7, this run has 0.5" in other.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--images", "nowhere", "--out", "out"], "nowhere"),
        (["--images", "empty", "--out", "out"], "no image"),
        (["--images", "one.png", "--out", "out", "--model", "vit_x"], "vit_x"),
        (["--images", "one.png", "--out", "out", "--checkpoint", "one.png"], "one.png"),
        (["--images", "one.png", "--out", "out", "--checkpoint", "none.pth"], "none.pth"),
        (["--images", "one.png", "--out", "one.png"], "one.png"),
        (["--images", "one.png", "--out", "full"], "full"),
        (["--images", "one.png", "--out", "out", "--pred-iou-thresh", "1.5"], "pred_iou_thresh"),
        (["--images", "one.png", "--out", "out", "--num-shards", "3"], "--shard-index"),
    ],
)
def test_a_users_mistake_is_one_line(
    sa_engine: Run, tmp_path: Path, arguments: list[str], words: str
) -> None:
    photograph(1).save(tmp_path / "one.png")
    (tmp_path / "empty").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.doc").write_text("do not lose this")
    done = sa_engine("auto", *arguments)
    assert done.returncode in (1, 2), done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("Error: ")
    assert words in lines[0]
    assert not (tmp_path / "out").exists()


def test_another_input_size_is_another_run(
    sa_engine: Run, photographs: Path, small_model: Path, tmp_path: Path
) -> None:
    (photographs / "broken.jpg").unlink()
    arguments = options(photographs, tmp_path / "out", small_model)
    odd = sa_engine(*arguments, "--image-size", "100")
    assert odd.returncode == 2
    assert "image size 100 is not a positive multiple of 16, as vit_t needs; try 96" in odd.stderr
    assert not (tmp_path / "out").exists()
    assert sa_engine(*arguments, "--image-size", "96").returncode == 0
    again = sa_engine(*arguments)
    assert again.returncode == 2 and "--image-size" in again.stderr
    assert sa_engine("verify", tmp_path / "out").returncode == 0


def test_an_unknown_option_is_a_usage_error(sa_engine: Run) -> None:
    done = sa_engine("auto", "--imagess", "x")
    assert done.returncode == 2
    assert "--images" in done.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_no_write_permission_is_one_line(
    sa_engine: Run, photographs: Path, small_model: Path, tmp_path: Path
) -> None:
    (tmp_path / "locked").mkdir(mode=0o555)
    done = sa_engine(*options(photographs, tmp_path / "locked" / "out", small_model))
    assert done.returncode == 2
    assert "cannot write" in done.stderr


def test_killed_in_the_middle_it_ends_with_the_same_bytes(
    sa_engine: Run, shared_data: Path, small_model: Path, tmp_path: Path
) -> None:
    calm, killed = tmp_path / "calm", tmp_path / "killed"
    fixtures = shared_data / "fixtures" / "images"
    assert sa_engine(*options(fixtures, calm, small_model)).returncode == 0
    kills = 0
    while kills < 3:
        process = subprocess.Popen(
            command_line(*options(fixtures, killed, small_model)),
            cwd=tmp_path,
            env=environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        before = progress_of(killed)
        until = time.monotonic() + 120
        while process.poll() is None and progress_of(killed) <= before:
            assert time.monotonic() < until
            time.sleep(0.005)
        # The whole process group, as when a machine goes down.
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        kills += 1
    assert not (killed / "sa_000004_stats.json").exists()
    assert sa_engine(*options(fixtures, killed, small_model)).returncode == 0
    for path in sorted(calm.iterdir()):
        if not path.name.endswith("_stats.json"):
            assert path.read_bytes() == (killed / path.name).read_bytes(), path.name
    assert sorted(p.name for p in calm.iterdir()) == sorted(p.name for p in killed.iterdir())


def progress_of(out: Path) -> int:
    """Bytes that a run has written of its shards so far."""
    total = 0
    for path in [*out.glob("sa_*.tar"), *out.glob(".work/*/*.tar")]:
        # A shard's tar may be renamed between the listing and the look.
        with contextlib.suppress(FileNotFoundError):
            total += path.stat().st_size
    return total


def test_a_dataset_grows_with_its_folder(sa_engine: Run, small_model: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("b", "c", "d"):
        photograph(ord(name)).save(photos / f"{name}.png")
    out = tmp_path / "out"
    arguments = options(photos, out, small_model)
    assert sa_engine(*arguments, "--limit", "2").returncode == 0
    before = {path.name: path.read_bytes() for path in out.glob("sa_*")}
    # The limit dropped, and one image more, which is listed first.
    photograph(1).save(photos / "a.png")
    done = sa_engine(*arguments)
    assert done.returncode == 0, done.stderr
    assert "4 images" in done.stdout and "2 of them done before" in done.stdout
    after = {path.name: path.read_bytes() for path in out.glob("sa_*")}
    assert before.items() <= after.items(), "what was there stays to the byte"
    rows = pq.read_table(sorted(out.glob("sa_*.parquet"))).to_pylist()
    names = [(row["image_id"], row["source"]) for row in rows]
    assert names == [(1, "b.png"), (2, "c.png"), (3, "a.png"), (4, "d.png")]
    assert sa_engine("verify", out).stdout == f"{out}: no problems\n"
    again = sa_engine(*arguments)
    assert (again.returncode, "4 of them done before" in again.stdout) == (0, True)
    fewer = sa_engine(*arguments, "--limit", "1")
    assert fewer.returncode == 2
    assert "3 of its 4 images are not among the 1 given now" in fewer.stderr


def test_a_run_without_a_single_mask_says_what_to_try(
    sa_engine: Run, small_model: Path, tmp_path: Path
) -> None:
    photograph(1).save(tmp_path / "a.png")
    done = sa_engine(
        *options(tmp_path / "a.png", tmp_path / "out", small_model), "--preset", "reference"
    )
    assert done.returncode == 0, done.stderr
    assert "1 image, 0 masks" in done.stdout
    assert "not a single mask: " in done.stderr and "--pred-iou-thresh" in done.stderr
    told = json.loads(sa_engine("status", tmp_path / "out", "--json").stdout)
    assert (told["images_done"], told["masks_in_complete_shards"]) == (1, 0)
