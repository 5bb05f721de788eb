"""Every command that writes, where nothing more can be written: one line, and nothing half-made."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sa_engine.cli.main import main
from tests.support.scene_datasets import write_scenes

SMALL = (
    *("--recipe", "scratch", "--image-size", "32", "--batch-images", "2", "--device", "cpu"),
    *("--masks-per-image", "2", "--rounds", "2", "--steps", "1"),
)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scenes(tmp_path_factory.mktemp("sets") / "scenes", range(3))


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photographs")
    pixels = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "a.png")
    return folder


@contextmanager
def no_file_over(num_bytes: int) -> Iterator[None]:
    """As on a disk that is full: longer files fail with "File too large"."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


COMMANDS: dict[str, list[str]] = {
    "train sam": ["train", "sam", "--data", "{scenes}", "--out", "{out}/x.safetensors", *SMALL],
    "train detector": [
        *("train", "detector", "--data", "{scenes}", "--checkpoint", "{model}", "--device", "cpu"),
        *("--steps", "1", "--batch-images", "2", "--out", "{out}/x.safetensors"),
    ],
    "train pack": ["train", "pack", "{scenes}", "--out", "{out}/x.pack"],
    "convert": ["model", "convert", "{model}", "{out}/x.pth"],
    "convert own": ["model", "convert", "{model}", "{out}/x.safetensors"],
    "average": ["model", "average", "{model}", "{model}", "--out", "{out}/x.safetensors"],
    "compare": [
        *("model", "compare", "--images", "{photographs}", "--model", "{model}"),
        *("--points-per-side", "2", "--device", "cpu", "cpu", "--out", "{out}/x.json"),
    ],
    "evaluate": [
        *("evaluate", "points", "{scenes}", "--checkpoint", "{model}", "--points", "1"),
        *("--max-images", "2", "--out", "{out}/x.parquet"),
    ],
    "export": ["export", "{scenes}", "--format", "coco", "--out", "{out}/x"],
    "show": ["show", "{scenes}", "--out", "{out}/x"],
    "merge": ["merge", "{scenes}", "{scenes}", "--out", "{out}/x"],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_full_disk_is_one_line(
    name: str,
    scenes: Path,
    photographs: Path,
    small_model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    places = {"scenes": scenes, "photographs": photographs, "model": small_model, "out": tmp_path}
    command = [each.format(**places) for each in COMMANDS[name]]
    with pytest.raises(SystemExit) as done, no_file_over(700):
        main(command)
    said = capsys.readouterr().err
    assert done.value.code == 1, said
    (line,) = said.splitlines()[-1:]
    assert "cannot write" in line and "File too large" in line, said
    assert "run the same command again" in line
    assert "Traceback" not in said and not list(tmp_path.glob(".x*"))
    assert not any(path.is_file() for path in tmp_path.glob("x*"))
    with pytest.raises(SystemExit) as done:
        main(command)
    assert done.value.code == 0, capsys.readouterr().err
