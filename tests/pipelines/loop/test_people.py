"""Rounds that take what people answered in a browser: waiting, slices, and what comes later."""

import subprocess
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sa_engine.annotate.keeping.event_log import EventLog
from sa_engine.annotate.keeping.slices import next_slice
from sa_engine.dataset.reader import Dataset
from sa_engine.dataset.records import ImageRecord
from sa_engine.errors import UsageError
from sa_engine.formats.work.log import read_journal
from sa_engine.formats.work.settings import read_settings
from sa_engine.masks.rle import encode
from sa_engine.pipelines.loop.reading import read_loop
from sa_engine.pipelines.loop.rounds import run_loop
from sa_engine.pipelines.loop.state import LoopProgress, LoopState
from tests.cli.conftest import command_line, environment
from tests.support.loop_sets import CONFIG as LOOP
from tests.support.loop_sets import write_inputs
from tests.support.served import write_photos

SIZE = (24, 32)

ROUND = """
[[round]]
name = "{name}"

[[round.gather]]
name = "{name}-drawn"
kind = "annotate"
images = "photos"
work = "work/stage1"
take = 2
"""
CONFIG = """
out = "out"

[start]
checkpoint = "start.safetensors"

[evaluate]
data = ["held"]
max_masks = 1
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    write_inputs(tmp_path)
    write_photos(tmp_path / "photos", 5, SIZE)
    path = tmp_path / "people.toml"
    path.write_text(CONFIG + ROUND.format(name="first") + ROUND.format(name="second"))
    return path


def answer(
    work: Path,
    *images: int,
    masks: int = 1,
    state: str = "done",
    size_hw: tuple[int, int] = SIZE,
) -> None:
    """Somebody answers images."""
    mask = np.zeros(size_hw, bool)
    mask[4:12, 6:20] = True
    with EventLog.resume(work) as log:
        for image in images:
            who = {"by": "anna", "image": image}
            for _ in range(masks):
                clock = [{"id": str(uuid.uuid4()), "search": 1.0, "work": 3.0}]
                said = {"mask": str(uuid.uuid4()), "revision": 1, "how": "drawn"}
                said |= {"rle": encode(mask).to_coco(), "id": str(uuid.uuid4()), "clock": clock}
                log.append({**who, "kind": "mask", **said}).result()
            said = {"state": state, "id": str(uuid.uuid4())}
            log.append({**who, "kind": "state", **said}).result()


def progress(state: LoopState) -> list[LoopProgress]:
    return [each.progress for each in state.rounds]


def masks_of(state: LoopState, place: int) -> list[int]:
    dataset = Dataset(state.rounds[place].sets[0].path)
    return [len(record.annotations) for record in dataset.images()]


def test_rounds_wait_take_their_images_and_keep_them(config: Path) -> None:
    work = config.parent / "work" / "stage1"
    waiting = run_loop(read_loop(config))
    assert waiting.waiting is not None
    assert "first: gather first-drawn: 0 of 2 images are answered" in waiting.waiting
    assert f"sa-engine annotate --work {work}" in waiting.waiting
    assert progress(waiting) == [LoopProgress.WAITING, LoopProgress.PENDING]

    answer(work, 3)
    assert "1 of 2 images" in (run_loop(read_loop(config)).waiting or "")
    answer(work, 1, masks=2)
    once = run_loop(read_loop(config))
    assert "second: gather second-drawn: 0 of 2" in (once.waiting or "")
    assert masks_of(once, 0) == [2, 1]
    assert once.rounds[0].sets[0].mask_seconds == 4.0

    # A second look at an image that the first round has: it belongs to the second now.
    answer(work, 3, masks=3)
    answer(work, 2, state="skipped")
    answer(work, 5)
    done = run_loop(read_loop(config))
    assert done.waiting is None
    assert progress(done) == [LoopProgress.DONE] * 2
    assert masks_of(done, 0) == [2, 1]
    assert done.rounds[0].sets[0].digest == once.rounds[0].sets[0].digest
    assert masks_of(done, 1) == [4, 1]

    answer(work, 4)
    again = run_loop(read_loop(config))
    assert [each.sets[0].digest for each in again.rounds] == [
        each.sets[0].digest for each in done.rounds
    ]


def test_a_slice_is_of_the_prefix_alone(tmp_path: Path) -> None:
    (tmp_path / "journal").mkdir()
    answer(tmp_path, 3, 1)
    answer(tmp_path, 3, state="reopened")
    answer(tmp_path, 2, 3, 4)
    events: list[Any] = list(read_journal(tmp_path).believed())
    whole = next_slice(events, first=0, take=2)
    assert whole.images == (3, 1)
    for end in range(len(events) + 1):
        part = next_slice(events[:end], first=0, take=2)
        assert part.images == whole.images[: len(part.images)] or len(part.images) < 2
        if end >= whole.last:
            assert part == whole
    following = next_slice(events, first=whole.last, take=2)
    assert following.images == (2, 3)
    assert next_slice(events, first=following.last, take=2).images == (4,)


def test_a_config_without_take(config: Path) -> None:
    config.write_text(config.read_text().replace("take = 2", ""))
    with pytest.raises(UsageError, match="needs 'take'"):
        read_loop(config)


def test_the_command_stays_while_people_are_at_work(config: Path) -> None:
    work = config.parent / "work" / "stage1"
    with subprocess.Popen(
        command_line("loop", config, "--wait"),
        env={**environment(), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        text=True,
    ) as running:
        assert running.stdout is not None
        waits = (line for line in running.stdout if line.startswith("waiting: "))
        assert "0 of 2 images are answered" in next(waits)
        answer(work, 3, 1)
        assert "second: gather second-drawn: 0 of 2" in next(waits)
        answer(work, 2, 5)
        said = running.stdout.read()
    assert running.returncode == 0
    assert "shows the curves" in said


def correct(work: Path, seen: ImageRecord, kept: list[int], rejected: list[int]) -> None:
    """Somebody looks at an image's proposals and draws one mask more."""
    with EventLog.resume(work) as log:
        who = {"by": "anna", "image": seen.image_id}
        for verdict, ids in (("kept", kept), ("rejected", rejected)):
            for proposal in ids:
                said = {"proposal": proposal, "verdict": verdict, "id": str(uuid.uuid4())}
                log.append({**who, "kind": "verdict", **said}).result()
    answer(work, seen.image_id, size_hw=(seen.height, seen.width))


def test_proposals_are_corrected_in_a_browser(tmp_path: Path) -> None:
    write_inputs(tmp_path)
    path = tmp_path / "loop.toml"
    by_masks = 'by = "masks"\nmasks = "more"\naccept_iou = 0.01'
    assert by_masks in LOOP
    path.write_text(LOOP.replace(by_masks, 'by = "browser"\nwork = "work/stage2"'))
    work = tmp_path / "work" / "stage2"
    waiting = run_loop(read_loop(path)).waiting
    assert waiting is not None
    settings = read_settings(work)
    assert settings.proposals is not None
    proposals = Dataset(settings.proposals[0])
    images = [record for record in proposals.images() if record.annotations]
    assert f"stage2: gather proposed: 0 of {len(proposals)} images are answered" in waiting
    assert f"sa-engine annotate --work {work}" in waiting

    seen = images[0]
    ids = [seen.mask_id(place) for place in range(len(seen.annotations))]
    correct(work, seen, ids[:1], ids[1:])
    assert f"1 of {len(proposals)} images" in (run_loop(read_loop(path)).waiting or "")
    for record in proposals.images():
        if record.image_id != seen.image_id:
            answer(work, record.image_id, masks=0, state="skipped")
    done = run_loop(read_loop(path))
    assert done.waiting is None
    made = done.rounds[1].sets[0]
    assert made.masks == {"semi-automatic": 2}
    assert made.proposals is not None
    figures = [made.proposals[name] for name in ("kept", "deleted", "added")]
    assert figures == [1, len(ids) - 1, 1]
    assert made.model is not None

    path.write_text(path.read_text().replace('work/stage2"', 'work/stage2"\ntake = 99'))
    with pytest.raises(UsageError, match=f"take is 99, and there are {len(proposals)} images"):
        run_loop(read_loop(path))
    path.write_text(path.read_text().replace("\ntake = 99", ""))

    # What people say later is nothing to a set that is made.
    answer(work, seen.image_id, masks=2)
    assert run_loop(read_loop(path)).rounds[1].sets[0].digest == made.digest

    path.write_text(path.read_text().replace("max_boxes = 20", "max_boxes = 1"))
    with pytest.raises(UsageError, match="holds answers to other proposals"):
        run_loop(read_loop(path))
