"""Every command that writes, where the disk may only be read: one line before the work begins."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from sa_engine.cli.main import main
from tests.support.scene_datasets import write_scenes

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def read_only(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A file system that is mounted read-only: even the superuser may not write there."""
    folder = tmp_path_factory.mktemp("mounted")
    mount = ["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only the superuser mounts a file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scenes(tmp_path_factory.mktemp("sets") / "scenes", range(3))


@pytest.mark.parametrize(
    "command",
    [
        "auto {pictures} --out {out}",
        "semi {pictures} --out {out}",
        "import {pictures} --format coco --out {out}",
        "export {set} --format coco --out {out}",
        "show {set} --out {out}",
        "report {set} --out {out}",
        "merge {set} --out {out}",
        "split {set} --val 0.4 --out-train {out}",
        "audit draw {set} --images 2 --seed 1 --out {out}",
        "train sam --data {set} --steps 1 --out {out}.safetensors",
        "train detector --data {set} --steps 1 --out {out}.safetensors",
        "train pack {set} --out {out}.pack",
        "model convert lite2 {out}.pth",
        "model average lite2 lite2 --out {out}.safetensors",
        "evaluate points {set} --max-images 1 --out {out}.parquet",
    ],
)
def test_a_disk_that_may_only_be_read_is_told(
    command: str,
    read_only: Path,
    scenes: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if command.startswith("import"):
        main_quietly("export", str(scenes), "--format", "coco", "--out", str(tmp_path / "coco"))
    pictures = tmp_path / "coco" if command.startswith("import") else ROOT / "examples" / "images"
    words = command.format(pictures=pictures, set=scenes, out=read_only / "x").split()
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main(words)
    said = capsys.readouterr().err
    assert ended.value.code in (1, 2)
    assert str(read_only) in said and "Traceback" not in said
    assert "not be written" in said or "cannot write" in said
    assert not list(read_only.iterdir())


def main_quietly(*words: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 0
