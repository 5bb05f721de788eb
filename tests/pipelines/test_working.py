"""The lines of docs/clusters.md for Python run as they stand."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_lines_of_the_page_run(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "clusters.md").read_text("utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    assert code.count("examples/images") == 1
    pictures = ROOT / "examples" / "images" / "coins.png"
    smaller = "out=out, generator_options={'points_per_side': 2}"
    code = code.replace("examples/images", str(pictures)).replace("out=out)", f"{smaller})", 1)
    script = tmp_path / "script.py"
    script.write_text(code)
    done = subprocess.run(
        [sys.executable, script],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    assert "num_images=1" in done.stdout
    assert (tmp_path / "out" / "by-hand" / "sa_000000.tar").is_file()
