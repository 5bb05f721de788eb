"""An audit: every mask is looked at, corrected or confirmed, and the figures follow."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sa_engine.dataset.reader import Dataset
from sa_engine.masks.rle import decode
from tests.annotate.browser.test_proposals import PLACES, SIZE, dataset_of
from tests.support.browser import Annotator, need_browser
from tests.support.served import disc, serving, write_photos

Visit = Callable[..., Annotator]


def test_every_mask_is_looked_at(tmp_path: Path, visit: Visit) -> None:
    need_browser()
    photos = write_photos(tmp_path / "photos", 3, SIZE)
    audited = dataset_of(photos, "automatic", PLACES)
    out = tmp_path / "audited"
    options: list[str | Path] = ["--audit", audited, "--sample", "2", "--out", out, "--no-model"]
    with serving([*options, "--annotator", "anna"]) as served:
        anna = visit(served)
        anna.shows("#place", "mask 1 of 4 on this image")
        anna.press("d")
        assert "still to be looked at" in anna.page.inner_text("#hint")
        # The largest first: right as it is.
        anna.press("Enter")
        # The second has an ear too few.
        anna.press("b")
        anna.js("annotate.setBrush(24)")
        anna.drag((100, 62), (101, 62))
        corrected = anna.hand()
        assert corrected[40, 100]
        assert corrected[70, 100]
        anna.press("Enter", "x", "Enter")
        assert anna.js("annotate.state.proposals.map((each) => each.verdict)") == [
            "kept",
            "undecided",
            "rejected",
            "kept",
        ]
        # The one that was corrected is decided by its mask.
        anna.shows("#proposals-count", "4/4")
        anna.done()
        anna.press("Enter", "Enter", "Enter", "Enter")
        anna.done()
        assert served.process.wait(timeout=60) == 0
        assert served.process.stdout is not None
        said = served.process.stdout.read()
    report = json.loads((tmp_path / "audited.annotate" / "audit.json").read_text())
    ious = [1.0] * 6
    before = disc(SIZE, 100, 40, 18)
    ious.append(float((before & corrected).sum() / (before | corrected).sum()))
    assert (report["images"], report["masks"], report["deleted"]) == (2, 8, 1)
    over = sum(iou > 0.9 for iou in ious)
    every, of_stage = report["rows"][:2]
    assert every["over_90"]["mean"] == pytest.approx(over / 7, abs=1e-4)
    assert every["over_90_of_all"]["mean"] == pytest.approx(over / 8, abs=1e-4)
    assert every["mean_iou"]["mean"] == pytest.approx(np.mean(ious), abs=1e-3)
    assert (of_stage["kind"], of_stage["group"], of_stage["masks"]) == ("stage", "automatic", 8)
    assert "the paper: 94%" in said
    masks = [decode(mask.segmentation) for _, _, mask in Dataset(out).iter_masks()]
    assert any(np.array_equal(mask, corrected) for mask in masks)
