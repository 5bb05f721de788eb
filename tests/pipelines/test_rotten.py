"""A corpus of damaged and strange files: each is read right, or has one reason why not."""

import os
from collections import Counter
from pathlib import Path

import numpy as np

from benchmarks.rotten_corpus import MAX_PIXELS, build
from sa_engine.dataset.sources.listing import list_sources
from sa_engine.pipelines.run.one_image import Reading, load


def test_every_file_is_read_right_or_has_one_reason(tmp_path: Path) -> None:
    folder = tmp_path / "corpus"
    folder.mkdir()
    items = build(folder)
    assert len(items) >= 300
    sources = list_sources(folder)
    root = os.fsencode(folder) + b"/"
    # Each once, although the folder holds a link to itself.
    listed = [os.fsencode(each.uri).removeprefix(root) for each in sources]
    assert Counter(listed) == Counter(
        name for name, item in items.items() if "unlisted" not in item.allowed
    )
    wrong = []
    reading = Reading(max_pixels=MAX_PIXELS)
    for source in sources:
        item = items[os.fsencode(source.uri).removeprefix(root)]
        loaded = load(source, reading)
        outcome = "ok" if loaded.error is None else loaded.error.partition(":")[0]
        fits = outcome in item.allowed
        if loaded.image is not None:
            if item.size_hw is not None:
                fits &= loaded.image.size_hw == item.size_hw
            if item.pixels is not None:
                fits &= np.array_equal(loaded.image.rgb_HW3, item.pixels)
        if not fits:
            wrong.append(f"{source.name}: {loaded.error or 'read'}, allowed {sorted(item.allowed)}")
    assert wrong == []
