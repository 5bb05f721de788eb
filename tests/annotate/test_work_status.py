"""`sa-engine status WORK`: from the files alone."""

import uuid
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from sa_engine.annotate.keeping.event_log import EventLog
from sa_engine.annotate.keeping.work_folder import open_work
from sa_engine.annotate.work_status import read_work_status
from sa_engine.cli.main import group
from sa_engine.errors import UsageError
from sa_engine.masks.rle import encode
from sa_engine.pipelines.annotating import plan_settings
from tests.support.served import write_photos


@pytest.fixture
def work(tmp_path: Path) -> Path:
    photos = write_photos(tmp_path / "photos", 4, (6, 8))
    settings = plan_settings(images=str(photos), out=tmp_path / "out", with_model=False)
    folder = tmp_path / "work"
    from sa_engine.dataset.sources.listing import list_sources

    open_work(folder, settings, list_sources(photos))
    with EventLog.resume(folder) as log:
        for image, (by, model, seconds) in enumerate(
            [("anna", "a" * 64, 4.0), ("anna", "b" * 64, 2.0), ("bob", None, 9.0)], 1
        ):
            said = {"by": by, "image": image, "how": "drawn", "revision": 1, "model": model}
            clock = [{"id": str(uuid.uuid4()), "search": 1.0, "work": seconds - 1.0}]
            said |= {"rle": encode(np.ones((6, 8), bool)).to_coco(), "clock": clock}
            log.append({**said, "kind": "mask", "mask": str(uuid.uuid4())}).result()
        log.append({"by": "anna", "image": 1, "kind": "state", "state": "done"}).result()
        log.append({"by": "bob", "image": 3, "kind": "state", "state": "skipped"}).result()
    return folder


def test_images_and_seconds_by_annotator_and_model(work: Path) -> None:
    status = read_work_status(work)
    assert status.images == {"open": 2, "done": 1, "skipped": 1, "failed": 0}
    assert (status.total, status.masks, status.median_s) == (4, 3, 4.0)
    assert status.annotators == [
        {"by": "anna", "masks": 2, "median_s": 3.0},
        {"by": "bob", "masks": 1, "median_s": 9.0},
    ]
    assert [row["median_s"] for row in status.models] == [4.0, 2.0, 9.0]


def test_the_command(work: Path) -> None:
    said = CliRunner().invoke(group, ["status", str(work)])
    assert said.exit_code == 0
    assert "2 of 4 images answered, 3 masks, 4.0 s a mask (median)" in said.output
    assert "annotator bob: 1 masks, 9.0 s a mask" in said.output
    assert "model brush alone: 1 masks" in said.output


def test_damage_is_said_and_no_work_is_refused(work: Path, tmp_path: Path) -> None:
    path = work / "journal" / "000001.log"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert read_work_status(work).damage
    with pytest.raises(UsageError, match=r"holds no work\.json"):
        read_work_status(tmp_path)
