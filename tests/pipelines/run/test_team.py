"""A script that starts workers where they import it is told so."""

import os
import subprocess
import sys
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parents[3]


def test_a_script_without_a_guard_is_told_what_it_lacks(tmp_path: Path) -> None:
    Image.new("RGB", (16, 16)).save(tmp_path / "a.png")
    script = tmp_path / "script.py"
    script.write_text(
        "from sa_engine.pipelines.stages.automatic import AutomaticRun, run_automatic\n"
        f"run_automatic(AutomaticRun(images={str(tmp_path / 'a.png')!r}, out='out'))\n"
    )
    done = subprocess.run(
        [sys.executable, script],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert "workers died" in last
    assert last.endswith('under if __name__ == "__main__":, since workers import that script')
