"""Servers and browsers that die, disks that fill, images that are taken over: nothing is lost."""

import contextlib
import itertools
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sa_engine.formats.work.folding import PeopleAnswers, fold
from sa_engine.formats.work.log import read_journal
from sa_engine.masks.rle import Rle, decode
from tests.support.browser import Annotator, need_browser
from tests.support.served import Client, Served, disc, serving, start_server, write_photos

Visit = Callable[..., Annotator]
SIZE = (90, 120)
KILLS = int(os.environ.get("SA_ENGINE_KILLS", "3"))
"""Of the server under a scripted annotator; more of them by hand."""


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    need_browser()
    return write_photos(tmp_path / "photos", 6, SIZE)


def options(photos: Path) -> list[str | Path]:
    out = photos.parent / "dataset"
    people = ["--annotator", "anna", "--annotator", "bob"]
    return ["--images", photos, "--out", out, "--no-model", *people]


@pytest.fixture
def served(photos: Path) -> Iterator[Served]:
    with serving(options(photos)) as served:
        served.work = photos.parent / "dataset.annotate"
        yield served


def answers(work: Path) -> PeopleAnswers:
    return fold(read_journal(work).believed())


def paint(anna: Annotator, x: float, y: float, *, finish: bool = True) -> None:
    anna.press("b")
    anna.js("annotate.setBrush(12)")
    anna.drag((x, y), (x + 15, y + 4))
    if finish:
        anna.press("Enter")


def crash(anna: Annotator) -> None:
    """Kill the page's process once its draft is kept, and open the link again."""
    draft = anna.served.work / "drafts" / f"anna.{anna.js('annotate.state.image.id')}.json"
    for _ in range(100):
        if draft.exists():
            break
        anna.page.wait_for_timeout(100)
    with anna.page.expect_event("crash"), contextlib.suppress(Exception):
        anna.page.goto("chrome://crash", timeout=2000)
    anna.page = anna.page.context.new_page()
    anna.open(first=False)


def again(served: Served, photos: Path) -> Served:
    """The same server on the same port, as somebody would start it after a crash."""
    other = start_server(options(photos), port=served.port)
    served.process = other.process
    return other


def test_work_goes_on_while_the_server_is_away(served: Served, photos: Path, visit: Visit) -> None:
    anna = visit(served)
    paint(anna, 20, 20)
    anna.saved()
    served.kill()
    paint(anna, 60, 20)
    paint(anna, 20, 60)
    anna.press("Control+z", "Control+Shift+Z")
    anna.wait("annotate.outbox.state() === 'away'")
    assert "NOT SAVED" in anna.page.inner_text("#light")
    drawn = anna.masks()
    assert len(drawn) == 3
    assert served.process.stdout is not None
    served.process.stdout.close()
    other = again(served, photos)
    anna.wait("annotate.outbox.pending() === 0")
    assert anna.page.inner_text("#light") == "saved"
    live = answers(photos.parent / "dataset.annotate").image(1).live()
    assert len(live) == 3
    for drawn_mask, drawn_event in zip(drawn, live, strict=True):
        assert drawn_event.last is not None
        rle = drawn_event.last["rle"]
        assert np.array_equal(decode(Rle(tuple(rle["size"]), rle["counts"])), drawn_mask)
    assert other.tokens == served.tokens


def test_kills_under_a_scripted_annotator(served: Served, photos: Path, visit: Visit) -> None:
    """SIGKILL at any moment: what was drawn is there once, whatever the page had to send again."""
    anna = visit(served)
    ids: list[str] = []
    for round_number in range(KILLS):
        timer = threading.Timer(0.05 * (round_number % 9), served.process.kill)
        timer.start()
        for place in range(3):
            paint(anna, 15 + 8 * (round_number % 9), 15 + 20 * place)
            ids = anna.js("[...annotate.state.masks.keys()]")
        timer.join()
        served.process.wait()
        assert served.process.stdout is not None
        served.process.stdout.close()
        again(served, photos)
    anna.wait("annotate.outbox.pending() === 0", timeout_s=90)
    live = [drawn.id for drawn in answers(photos.parent / "dataset.annotate").image(1).live()]
    assert live == ids
    assert len(ids) == 3 * KILLS


def test_a_page_that_is_gone_sends_later(served: Served, photos: Path, visit: Visit) -> None:
    anna = visit(served)
    served.kill()
    paint(anna, 20, 20)
    anna.wait("annotate.outbox.state() === 'away'")
    context = anna.page.context
    anna.page.close(run_before_unload=False)
    assert served.process.stdout is not None
    served.process.stdout.close()
    again(served, photos)
    later = Annotator(context.new_page(), served)
    later.open(first=False)
    later.saved()
    assert len(answers(photos.parent / "dataset.annotate").image(1).live()) == 1


def test_the_mask_in_hand_comes_back_after_a_crash(served: Served, visit: Visit) -> None:
    anna = visit(served)
    paint(anna, 30, 30, finish=False)
    hand = anna.hand()
    anna.wait("annotate.state.hand !== null")
    crash(anna)
    anna.wait("annotate && annotate.state.hand !== null")
    assert np.array_equal(anna.hand(), hand)
    anna.press("Enter")
    assert np.array_equal(anna.masks()[0], hand)
    anna.saved()
    anna.page.reload()
    anna.wait("annotate && annotate.state.masks.size === 1")
    assert anna.js("annotate.state.hand") is None


def test_an_image_that_is_taken_over(served: Served, visit: Visit) -> None:
    anna = visit(served)
    paint(anna, 20, 20)
    anna.saved()
    image = anna.js("annotate.state.image.id")
    lease = anna.js("annotate.state.lease")
    client = Client(served)
    path = f"/api/images/{image}"
    client.request("DELETE", f"{path}/lease", lease=lease)
    bob = Client(served, "bob")
    assert bob.request("POST", f"{path}/open", {"tab": bob.tab}).status == 200
    paint(anna, 60, 60)
    anna.wait(f"annotate.state.image && annotate.state.image.id !== {image}")
    assert "taken this image over" in anna.page.inner_text("#hint")
    work = answers(served.work).image(image)
    assert (len(work.live()), len(work.late)) == (1, 1)


def test_three_people_answer_each_image_once(tmp_path: Path, visit: Visit) -> None:
    photos = write_photos(tmp_path / "photos", 6, (60, 80))
    people = ["anna", "bob", "cleo"]
    links = [part for name in people for part in ("--annotator", name)]
    out = tmp_path / "dataset"
    with serving(["--images", photos, "--out", out, "--no-model", *links]) as served:
        visitors = [visit(served, name) for name in people]
        done = 0
        for each in itertools.islice(itertools.cycle(visitors), 60):
            if done == 6:
                break
            if each.js("annotate.state.image === null"):
                each.page.wait_for_timeout(200)
                continue
            paint(each, 20, 20)
            each.done(alone=False)
            done += 1
        assert served.process.wait(timeout=90) == 0
    work = answers(tmp_path / "dataset.annotate")
    assert sorted(work.images) == list(range(1, 7))
    assert all(len(image.live()) == 1 for image in work.images.values())
    events = read_journal(tmp_path / "dataset.annotate").believed()
    opened = [event["image"] for event in events if event["kind"] == "opened"]
    assert sorted(opened) == list(range(1, 7))


def test_a_full_disk_stops_nothing(photos: Path, visit: Visit) -> None:
    if os.getuid() != 0:
        pytest.skip("mounting a small disk needs root")
    disk = photos.parent / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a small disk cannot be mounted here")
    try:
        work = disk / "work"
        with serving([*options(photos), "--work", work]) as served:
            anna = visit(served)
            filler = disk / "filler"
            paint(anna, 20, 20)
            anna.saved()
            fill(filler)
            # What was allocated already takes a few more.
            for place in range(12):
                paint(anna, 60, 20 + 4 * place)
                if anna.js("annotate.outbox.state() === 'disk'"):
                    break
                anna.page.wait_for_timeout(150)
            anna.wait("annotate.outbox.state() === 'disk'")
            drawn = anna.js("annotate.state.masks.size")
            assert "disk of WORK is full" in anna.page.inner_text("#light")
            client = Client(served, "bob")
            draft = {"draft": {"note": "x" * 900_000}}
            refused = client.request("PUT", "/api/images/2/draft", draft)
            assert (refused.status, refused.content["error"]["code"]) == (507, "disk-full")
            filler.unlink()
            anna.wait("annotate.outbox.pending() === 0", timeout_s=40)
            assert len(answers(work).image(1).live()) == drawn
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def fill(path: Path) -> None:
    """Write until nothing more can be written."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
    with contextlib.suppress(OSError):
        while True:
            os.write(descriptor, bytes(1024))
    os.close(descriptor)


def test_a_server_that_knows_nobody(served: Served, browser: Any) -> None:
    page = browser.new_page()
    page.goto(f"{served.url}/#token=wrong")
    page.locator("#note", has_text="not known").wait_for()
    page.goto("about:blank")
    page.evaluate("() => 1")
    page.close()


def test_masks_that_came_late_do_not_count(served: Served) -> None:
    client = Client(served)
    given = client.next()
    client.put_mask({**given, "lease": "x"}, disc(SIZE, 40, 40, 9))
    assert answers(served.work).image(given["image"]["id"]).live() == []
