"""The notebook of the examples runs, and the README's lines are its lines."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.written import Written, mask_record, write_dataset

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("cwd", [ROOT, ROOT / "examples"], ids=["checkout", "examples"])
def test_the_notebook_runs(tmp_path: Path, cwd: Path) -> None:
    mask = np.zeros((8, 12), dtype=bool)
    mask[2:5, 3:9] = True
    images = [Written(np.full((8, 12, 3), 90, np.uint8), [mask_record(mask)])]
    write_dataset(tmp_path / "data", images)
    code = (ROOT / "examples" / "notebook.py").read_text("utf-8")
    for mine, tried in (
        ('Path("out/first")', f"Path({str(tmp_path / 'data')!r})"),
        ('Path("out/notebook")', f"Path({str(tmp_path / 'out')!r})"),
        ("points_per_side = 32", "points_per_side = 4"),
    ):
        assert code.count(mine) == 1
        code = code.replace(mine, tried)
    # A notebook is no file, and its kernel has arguments of its own.
    done = subprocess.run(
        [sys.executable, "-", "-f", "kernel.json"],
        input=code,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert " masks; the largest has " in lines[0] and not lines[0].startswith("0 masks")
    assert lines[2:] == [
        "1 images; picture 000.png has 1 masks",
        "1 COCO annotations",
        "tensors: image (3, 8, 12), masks (1, 8, 12)",
    ]
    with Image.open(ROOT / "examples" / "images" / "cat.jpg") as photo:
        size = photo.size
    for name in ("masks", "click"):
        with Image.open(tmp_path / "out" / f"{name}.jpg") as shown:
            assert shown.size == size
