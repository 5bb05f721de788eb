"""How many processes and threads make a dataset changes no byte of it."""

from pathlib import Path

import numpy as np
from PIL import Image

from tests.cli.conftest import Run


def test_one_worker_of_all_threads_and_two_of_half(
    sa_engine: Run, small_model: Path, tmp_path: Path
) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    random = np.random.default_rng(1)
    for name in ("a", "b"):
        coarse = random.integers(0, 256, (9, 12, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((120, 90)).save(pictures / f"{name}.png")
    for out, workers in (("one", 1), ("two", 2)):
        # A worker has its share of the machine's cores as threads.
        done = sa_engine(
            *("auto", "--images", pictures, "--out", out, "--workers", str(workers)),
            *("--checkpoint", small_model, "--points-per-side", "5", "--images-per-shard", "1"),
            *("--device", "cpu", "--precision", "fp32"),
        )
        assert done.returncode == 0, done.stderr
    one, two = (
        {
            path.name: path.read_bytes()
            for path in sorted((tmp_path / out).iterdir())
            if path.suffix in (".tar", ".parquet")
        }
        for out in ("one", "two")
    )
    assert "sa_000000.tar" in one and "sa_000001.parquet" in one
    assert one == two
