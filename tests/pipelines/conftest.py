"""Small datasets to be made, and what to compare of those that were."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sa_engine.dataset.folder.base import LocalFolder
from sa_engine.dataset.manifest import Manifest, open_output
from sa_engine.dataset.records import Stage
from sa_engine.dataset.shards.workspace import find_workspaces
from sa_engine.dataset.sources.listing import list_sources


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """Twelve small PNG files, each with another bright box."""
    folder = tmp_path / "photographs"
    folder.mkdir()
    for number in range(12):
        pixels = np.zeros((16, 20, 3), dtype=np.uint8)
        pixels[2 : 4 + number % 5, 3 : 6 + number] = 255
        Image.fromarray(pixels).save(folder / f"photo {number:02d}.png")
    return folder


@pytest.fixture
def begin(tmp_path: Path, photographs: Path) -> Callable[[str], LocalFolder]:
    """A function that begins a dataset of the photographs under a name, 5 images a shard."""

    def begin_named(name: str) -> LocalFolder:
        sources = list_sources(photographs)
        manifest = Manifest(
            stage=Stage.AUTOMATIC, num_images=len(sources), images_per_shard=5, options={}
        )
        open_output(tmp_path / name, manifest, sources)
        return LocalFolder(tmp_path / name)

    return begin_named


def journal_bytes(folder: LocalFolder, shard_index: int) -> int:
    """Length of the longest journal of a shard in the making."""
    found = find_workspaces(folder.scratch_files(), shard_index)
    return max((work.journal.stat().st_size for work in found if work.journal.exists()), default=0)


def deterministic_bytes(folder: LocalFolder) -> dict[str, bytes]:
    """Every file of a dataset but the stats, which hold the seconds that it took."""
    return {name: folder.read(name) for name in folder.names() if not name.endswith("_stats.json")}
