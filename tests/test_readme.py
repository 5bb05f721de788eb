"""The README's first steps work in their order, in a shell and in Python."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text("utf-8")


def blocks(title: str, language: str) -> list[str]:
    """The code blocks of a language in the section of a title."""
    section = re.split(r"^## ", README, flags=re.MULTILINE)
    (text,) = [each for each in section if each.startswith(title)]
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


@pytest.fixture(scope="module")
def first_steps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the first steps were taken; grids and images are smaller than there."""
    here = tmp_path_factory.mktemp("readme")
    (here / "examples").symlink_to(ROOT / "examples")
    (here / "bin").mkdir()
    command = here / "bin" / "sa-engine"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m sa_engine "$@"\n')
    command.chmod(0o755)
    (block,) = blocks("First steps", "sh")
    script = block.replace("sa-engine auto", "sa-engine auto --points-per-side 6")
    script = script.replace("sa-engine semi", "sa-engine semi --max-boxes 10")
    script = script.replace("--steps 2", "--steps 1 --batch-images 1 --image-size 64")
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=here,
        env={
            **os.environ,
            "PATH": f"{here / 'bin'}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
        },
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return here


def test_the_first_steps_in_a_shell(first_steps: Path) -> None:
    made = {path.name for path in (first_steps / "out").iterdir()}
    assert {"first", "first-pictures", "coco", "again", "proposals", "both-train"} <= made
    assert (first_steps / "out" / "first-pictures" / "index.html").is_file()
    assert (first_steps / "out" / "mine.safetensors").is_file()


def test_the_first_steps_in_python(first_steps: Path) -> None:
    text = "\n".join(blocks("In Python", "python"))
    text = text.replace("MaskGenerator(model)", "MaskGenerator(model, points_per_side=4)")
    assert text.count("points_per_side=4") == 1
    done = subprocess.run(
        [sys.executable, "-c", text + "\nassert len(dataset) == 6 and coco['images']\n"],
        cwd=first_steps,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
