"""Images that come prefilled: what is kept, edited, rejected or left, and what the dataset says."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sa_engine.dataset.reader import Dataset
from sa_engine.dataset.records import Stage
from sa_engine.formats.registry import Format
from sa_engine.masks.rle import decode, encode
from sa_engine.pipelines.stages.manual import ImportRun, run_import
from tests.support.browser import Annotator, need_browser
from tests.support.served import disc, serving, write_photos

Visit = Callable[..., Annotator]
SIZE = (120, 160)
PLACES = [(40, 40, 24), (100, 40, 18), (40, 90, 12), (110, 90, 9)]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    need_browser()
    return write_photos(tmp_path / "photos", 2, SIZE)


def dataset_of(photos: Path, name: str, places: list[tuple[int, int, int]]) -> Path:
    """A model's dataset with discs on every image, by way of SA-1B's files."""
    files = photos.parent / f"{name}-json"
    files.mkdir()
    for number, photo in enumerate(sorted(photos.iterdir()), 1):
        masks = [
            {"id": place, "segmentation": encode(disc(SIZE, x, y, radius)).to_coco()}
            for place, (x, y, radius) in enumerate(places)
        ]
        image = {"image_id": number, "width": SIZE[1], "height": SIZE[0], "file_name": photo.name}
        content = {"image": image, "annotations": masks}
        (files / f"{photo.stem}.json").write_text(json.dumps(content))
    out = photos.parent / name
    run_import(ImportRun(annotations=files, images=str(photos), out=out, format=Format.SA_1B))
    return out


@pytest.fixture
def proposals(photos: Path) -> Path:
    return dataset_of(photos, "proposals", PLACES)


def test_existing_masks_are_shown_and_locked(photos: Path, visit: Visit) -> None:
    existing = dataset_of(photos, "existing", PLACES[:2])
    out = photos.parent / "dataset"
    options: list[str | Path] = [
        "--images",
        photos,
        "--out",
        out,
        "--existing",
        existing,
        "--no-model",
    ]
    with serving([*options, "--annotator", "anna"]) as served:
        anna = visit(served)
        assert anna.js("annotate.state.existing.length") == 2
        anna.shows("#masks-count", "2")
        anna.press("v")
        anna.page.mouse.click(*anna.at(40, 40))
        anna.press("Delete", "Enter")
        assert anna.js("[annotate.state.selected, annotate.state.hand]") == [None, None]
        anna.press("b")
        anna.drag((100, 90), (120, 90))
        anna.done()
        anna.done()
        assert served.process.wait(timeout=60) == 0
    counts = [len(record.annotations) for record in Dataset(out).images()]
    assert counts == [1, 0]


def test_stage_two_by_keyboard(photos: Path, proposals: Path, visit: Visit) -> None:
    out = photos.parent / "dataset"
    options: list[str | Path] = [
        "--images",
        photos,
        "--out",
        out,
        "--proposals",
        proposals,
        "--no-model",
    ]
    with serving([*options, "--annotator", "anna"]) as served:
        anna = visit(served)
        anna.shows("#proposals-count", "0/4")
        assert anna.page.locator("#proposals li").count() == 4
        anna.press("n")
        first = anna.js("annotate.state.proposal")
        anna.press("a", "x")
        verdicts = anna.js("annotate.state.proposals.map((each) => each.verdict)")
        assert verdicts == ["kept", "rejected", "undecided", "undecided"]
        assert anna.js("annotate.state.proposals[0].id") == first
        anna.press("Control+z")
        assert anna.js("annotate.state.proposals[1].verdict") == "undecided"
        anna.press("Control+Shift+Z")
        # The third is taken in hand and made larger.
        anna.js("((annotate.state.proposal = annotate.state.proposals[2].id), 1)")
        anna.press("Enter", "b")
        anna.js("annotate.setBrush(14)")
        anna.drag((40, 90), (60, 90))
        edited = anna.hand()
        assert edited[90, 40]
        assert edited[90, 64]
        anna.press("Enter", "q", "b", "Escape")
        anna.press("b")
        anna.drag((80, 110), (100, 110))
        added = anna.hand()
        anna.done()
        anna.press("Shift+A")
        kept = anna.js("annotate.state.proposals.map((each) => each.verdict)")
        assert kept == ["kept"] * 4
        anna.done()
        assert served.process.wait(timeout=60) == 0
    report = json.loads((out / "import-report.json").read_text())["proposals"]
    assert (report["kept"], report["deleted"], report["added"]) == (6, 1, 1)
    assert report["edited"] == 1
    first_image, second = Dataset(out).images()
    said: dict[str, list[Any]] = {}
    for mask in first_image.annotations:
        said.setdefault(mask.attributes["proposal"]["verdict"], []).append(mask)
    assert {verdict: len(masks) for verdict, masks in said.items()} == {
        "kept": 2,
        "edited": 1,
        "added": 1,
    }
    assert np.array_equal(decode(said["edited"][0].segmentation), edited)
    assert np.array_equal(decode(said["added"][0].segmentation), added)
    reviewed = [mask.attributes["annotate"]["reviewed"] for mask in said["kept"]]
    # One was looked at and kept, one was left undecided.
    assert sorted(reviewed) == [False, True]
    assert all(mask.stage is Stage.SEMI_AUTOMATIC for mask in first_image.annotations)
    assert all(mask.attributes["annotate"]["reviewed"] for mask in second.annotations)
