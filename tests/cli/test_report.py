"""`report` as a user runs it."""

from pathlib import Path

import numpy as np

from tests.cli.conftest import Run
from tests.support.drawing import grid
from tests.support.written import Written, mask_record, write_dataset


def test_it_says_what_it_wrote(sa_engine: Run, tmp_path: Path) -> None:
    mask = mask_record(grid("....", ".##.", "...."))
    black = np.zeros((3, 4, 3), dtype=np.uint8)
    write_dataset(tmp_path / "data", [Written(black, [mask]), Written(None)])
    done = sa_engine("report", "data", "--out", "page", "--no-look-alikes")
    assert done.stdout == "page/index.html: 1 image, 1 mask\n"
    (tmp_path / "page" / "notes.txt").write_text("mine")
    refused = sa_engine("report", "data", "--out", "page")
    assert refused.returncode == 2
    assert refused.stderr.startswith("Error: page is there already and holds other files")
    missing = sa_engine("report", "data", "--out", "new", "--groups", "none.csv")
    assert missing.stderr.startswith("Error: there is no file none.csv")
    assert not (tmp_path / "new").exists()
