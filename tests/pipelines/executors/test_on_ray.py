"""What `--executor ray` refuses before there is a cluster; real raylets are in tests/engines."""

import os
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from sa_engine.errors import UsageError
from sa_engine.pipelines.executors.on_ray import _share_of_the_work
from sa_engine.pipelines.run.one_image import Reading
from sa_engine.pipelines.run.worker import Part
from sa_engine.version import __version__
from tests.cli.conftest import command_line, environment
from tests.support.annotators import Bright


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


@pytest.mark.parametrize("there", [None, b"another dataset"])
def test_a_node_that_does_not_see_the_dataset_is_named(tmp_path: Path, there: bytes | None) -> None:
    if there is not None:
        (tmp_path / "manifest.json").write_bytes(there)
    share = (None, str(tmp_path), b"this dataset", __version__, Bright(), Reading(), Part(), None)
    with pytest.raises(UsageError, match=f"node .* does not see {tmp_path}: use a shared folder"):
        _share_of_the_work(*share)


def test_a_node_with_another_engine_is_named(tmp_path: Path) -> None:
    share = (None, str(tmp_path), b"", "0.0.1", Bright(), Reading(), Part(), None)
    with pytest.raises(UsageError, match=rf"has sa-engine {__version__}, this machine 0\.0\.1"):
        _share_of_the_work(*share)
