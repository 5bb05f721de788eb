"""What `--executor ray` refuses before there is a cluster; real raylets are in tests/engines."""

import os
import subprocess
from pathlib import Path

from PIL import Image

from tests.cli.conftest import command_line, environment


def run(folder: Path, *more: str, path: str = "") -> subprocess.CompletedProcess[str]:
    pictures = folder / "pictures"
    pictures.mkdir(exist_ok=True)
    Image.new("RGB", (32, 32)).save(pictures / "a.png")
    variables = environment()
    return subprocess.run(
        command_line(*("auto", "--images", pictures, "--out", folder / "out"), *more),
        env={
            **variables,
            "PYTHONPATH": os.pathsep.join(filter(None, (path, variables["PYTHONPATH"]))),
        },
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_without_ray_the_extra_is_named(tmp_path: Path) -> None:
    stand_in = tmp_path / "path" / "ray"
    stand_in.mkdir(parents=True)
    (stand_in / "__init__.py").write_text("raise ImportError('no ray here')\n")
    done = run(tmp_path, "--executor", "ray", path=str(stand_in.parent))
    assert done.returncode == 2
    assert done.stderr.strip().endswith("pip install 'sa-engine[ray]'")


def test_what_one_machine_does_is_not_asked_of_a_cluster(tmp_path: Path) -> None:
    for option in ("--retry-failed", "--repair"):
        done = run(tmp_path, "--executor", "ray", option)
        assert done.returncode == 2
        assert "give them to a run on one machine" in done.stderr
