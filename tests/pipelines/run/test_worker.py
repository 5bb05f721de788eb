"""A worker among many asks for what is left, not for all that others have made."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sa_engine.dataset.folder.base import Folder, open_folder
from sa_engine.dataset.images.reading import StoredImage
from sa_engine.dataset.manifest import Manifest, open_output
from sa_engine.dataset.records import MaskRecord
from sa_engine.dataset.shards import claims
from sa_engine.dataset.shards.writer import pending_shards
from sa_engine.dataset.sources.listing import Source, list_sources
from sa_engine.pipelines.run import worker as worker_module
from sa_engine.pipelines.run.worker import MOST_MISSES, Annotate, Reading, work

NUM_SHARDS = 30


class Helped:
    """An annotator during whose first image another worker makes all other shards."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._has_helped = False

    def open(self, worker: int) -> Annotate:
        def annotate(_source: Source, _image: StoredImage) -> Sequence[MaskRecord]:
            if not self._has_helped:
                self._has_helped = True
                work(self._folder, self, reading=Reading(), report=_ignore, stop=_never, wait=False)
            return ()

        return annotate


def _ignore(_event: object) -> None:
    pass


def _never() -> bool:
    return False


def test_what_others_made_meanwhile_is_not_asked_for_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for number in range(NUM_SHARDS):
        pixels = np.full((4, 4, 3), number, dtype=np.uint8)
        Image.fromarray(pixels).save(pictures / f"{number:02}.png")
    sources = list_sources(str(pictures))
    manifest = Manifest(stage=None, num_images=len(sources), images_per_shard=1)
    out = tmp_path / "dataset"
    stored = open_output(out, manifest, sources)
    folder = open_folder(out)
    asked: list[tuple[int, bool]] = []
    real = claims.claim

    def claim(url: str, index: int, **more: Any) -> Any:
        lease = real(url, index, **more)
        asked.append((index, lease is not None))
        return lease

    monkeypatch.setattr(worker_module, "claim", claim)
    work(folder, Helped(folder), reading=Reading(), report=_ignore, stop=_never)
    assert not pending_shards(folder.url, stored)
    made = [index for index, is_mine in asked if is_mine]
    assert sorted(made) == list(range(NUM_SHARDS))  # each once
    missed = [index for index, is_mine in asked if not is_mine]
    # The helper asks for the one that is in hand, once in each of two passes; then eight are asked
    # for before a look.
    assert len(missed) == 2 + MOST_MISSES
