"""`show` as a user runs it: what it says, and that it leaves other files alone."""

from pathlib import Path

import numpy as np

from tests.cli.conftest import Run
from tests.support.drawing import grid
from tests.support.written import Written, mask_record, write_dataset

PICTURE = np.zeros((3, 4, 3), dtype=np.uint8)


def test_it_says_what_it_wrote(sa_engine: Run, tmp_path: Path) -> None:
    mask = mask_record(grid("....", ".##.", "...."))
    write_dataset(
        tmp_path / "data",
        [Written(PICTURE, [mask]), Written(None), Written(PICTURE + 9)],
        images_per_shard=2,
        shards=1,
    )
    shown = sa_engine("show", "data", "--out", "pictures")
    said = "1 image, 1 mask; 1 image failed; the rest is still being made"
    assert shown.stdout == f"pictures/index.html: {said}\n"
    both = sa_engine("show", "data", "data", "--out", "pictures")
    assert "2 masks, 1 of the first have a counterpart in the second" in both.stdout


def test_it_never_writes_over_other_files(sa_engine: Run, tmp_path: Path) -> None:
    write_dataset(tmp_path / "data", [Written(PICTURE)])
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "index.html").write_text("mine")
    for out in ("site", "data", "data/pictures", "data/manifest.json"):
        refused = sa_engine("show", "data", "--out", out)
        assert refused.returncode == 2, out
        assert refused.stderr.startswith("Error: ") and refused.stderr.count("\n") == 1
    assert (tmp_path / "site" / "index.html").read_text() == "mine"
    assert sa_engine("verify", "data").stdout == "data: no problems\n"
