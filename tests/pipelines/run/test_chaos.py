"""A small chaos run: killed at random and started again, it ends with the same bytes.

`python -m benchmarks.chaos` is the large one.
"""

import json
from pathlib import Path

from benchmarks import chaos


def test_a_run_that_is_killed_again_and_again_ends_with_the_same_bytes(tmp_path: Path) -> None:
    small = ["--images", "32", "--kills", "3", "--patience", "1.2", "--only", "kills"]
    chaos.main([*small, "--out", str(tmp_path)])
    found = json.loads((tmp_path / "chaos.json").read_text())["kills"]
    assert found["kills_of_workers"] + found["kills_of_parents"] >= 3
    assert found["identical"] and found["no_problems"]
