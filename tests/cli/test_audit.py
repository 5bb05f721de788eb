"""`audit` as a user runs it."""

from pathlib import Path

import numpy as np

from tests.cli.conftest import Run
from tests.support.written import Written, mask_record, write_dataset


def make(path: Path) -> None:
    pixels = np.zeros((30, 40), dtype=bool)
    pixels[5:15, 8:30] = True
    rng = np.random.default_rng(0)
    write_dataset(
        path,
        [
            Written(rng.integers(0, 255, (30, 40, 3), dtype=np.uint8), [mask_record(pixels)])
            for _ in range(3)
        ],
    )


def test_draw_and_read(sa_engine: Run, tmp_path: Path) -> None:
    make(tmp_path / "data")
    drawn = sa_engine("audit", "draw", "data", "--images", "2", "--out", "audit")
    assert drawn.stdout.startswith("audit/to-correct: 2 images of 3, 2 masks; correct them, then:")
    read = sa_engine(
        *("audit", "read", "audit/to-correct", "--audit", "audit", "--out", "rows.csv")
    )
    assert read.returncode == 0, read.stderr
    assert "all" in read.stdout and "1.000 [1.000, 1.000]" in read.stdout
    assert "2 images; 0 masks added by people" in read.stdout
    assert (tmp_path / "rows.csv").read_text().count("\n") == 3


def test_rate(sa_engine: Run, tmp_path: Path) -> None:
    make(tmp_path / "data")
    page = sa_engine("audit", "rate", "data", "--out", "rating", "--masks", "2")
    assert page.stdout.startswith("rating/index.html: 2 masks; give it to people")
    (tmp_path / "anna.csv").write_text("mask_id,score\n1000001,9\n2000001,7\n5000001,1\n")
    (tmp_path / "bert.csv").write_text("mask_id,score\n1000001,8\n2000001,7\n")
    said = sa_engine("audit", "rate", "data", "anna.csv", "bert.csv")
    assert "2 people; on 2 masks rated by several: Krippendorff's alpha" in said.stdout
    assert "7.75" in said.stdout
    assert "1 mask of the ratings are not in data: 5000001" in said.stderr
    nothing = sa_engine("audit", "rate", "data")
    assert nothing.returncode == 2
