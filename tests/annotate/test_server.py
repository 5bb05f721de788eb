"""The server as annotators meet it, without a browser: leases, masks, kills, the dataset."""

import json
import os
import random
import threading
import time
import uuid
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sa_engine.dataset.reader import Dataset
from sa_engine.dataset.records import Stage
from sa_engine.formats.work.folding import fold
from sa_engine.formats.work.log import read_journal
from sa_engine.masks.rle import decode
from tests.cli.conftest import small_model
from tests.support.served import (
    Client,
    Served,
    disc,
    mask_body,
    serving,
    start_server,
    write_photos,
)

__all__ = ["small_model"]

SIZE = (96, 128)
KILLS = int(os.environ.get("SA_ENGINE_KILLS", "12"))
DISC = disc(SIZE, 42, 48, 20)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return write_photos(tmp_path / "photos", 3)


def arguments(photos: Path, *more: str | Path) -> list[str | Path]:
    out = photos.parent / "dataset"
    return ["--images", photos, "--out", out, "--no-model", "--annotator", "anna", *more]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One server for all tests that need no start of their own; each has images of its own."""
    photos = write_photos(tmp_path_factory.mktemp("shared") / "photos", 40)
    with serving(arguments(photos, "--annotator", "bob")) as served:
        served.work = photos.parent / "dataset.annotate"
        yield served


def test_three_images_become_a_dataset(photos: Path) -> None:
    with serving(arguments(photos)) as served:
        client = Client(served)
        names = []
        given = client.next()
        while given is not None:
            names.append(given["image"]["name"])
            assert client.put_mask(given, DISC).status == 200
            assert client.put_state(given, "done").status == 200
            given = client.next(after=given["image"]["id"])
        assert served.process.wait(timeout=60) == 0
    assert names == ["photo_000.png", "photo_001.png", "photo_002.png"]
    dataset = Dataset(photos.parent / "dataset")
    assert dataset.manifest.stage is Stage.MANUAL
    for record in dataset.images():
        (mask,) = record.annotations
        assert mask.annotator == "anna"
        assert mask.time_spent_s == 0.75
        assert np.array_equal(decode(mask.segmentation), DISC)
        assert mask.attributes["annotate"]["reviewed"] is True
        assert record.attributes["lead_time_s"] == 0.75
        assert record.attributes["annotate"]["annotators"] == {"anna": 0.75}


def test_each_image_goes_to_one_person(served: Served) -> None:
    anna, bob = Client(served), Client(served, "bob")
    first, second = anna.next(), bob.next()
    assert first["image"]["id"] != second["image"]["id"]
    assert anna.next()["image"]["id"] == first["image"]["id"]
    taken = anna.request("POST", f"/api/images/{second['image']['id']}/open", {"tab": anna.tab})
    assert (taken.status, taken.content["error"]["code"]) == (409, "taken")
    assert bob.put_mask({**first, "lease": second["lease"]}, DISC).status == 409


def test_what_comes_without_a_lease_is_kept_aside(served: Served) -> None:
    anna, bob = Client(served), Client(served, "bob")
    given = anna.next()
    lost = bob.put_mask({**given, "lease": "none"}, DISC)
    assert (lost.status, lost.content["error"]["code"]) == (409, "lease-lost")
    work = fold(read_journal(served.work).believed())
    image = work.images[given["image"]["id"]]
    assert (len(image.late), image.live()) == (1, [])


def test_sent_twice_counts_once(served: Served) -> None:
    client = Client(served)
    given = client.next()
    mask_id, body = str(uuid.uuid4()), mask_body(DISC)
    path = f"/api/images/{given['image']['id']}/masks/{mask_id}"
    first = client.request("PUT", path, body, lease=given["lease"])
    again = client.request("PUT", path, body, lease=given["lease"])
    assert first.status == again.status == 200
    assert first.content["rle"] == again.content["rle"]
    other = client.request("PUT", path, mask_body(DISC), lease=given["lease"])
    assert (other.status, other.content["error"]["revision"]) == (409, 1)
    newer = client.request("PUT", path, mask_body(~DISC, revision=2), lease=given["lease"])
    assert newer.content["revision"] == 2


def test_the_same_object_twice_is_said(served: Served) -> None:
    client = Client(served)
    given = client.next()
    first = client.put_mask(given, DISC).content
    assert first["same_as"] == []
    assert client.put_mask(given, disc(SIZE, 42, 48, 20.4)).content["same_as"] == [first["id"]]
    assert client.put_mask(given, disc(SIZE, 90, 48, 20)).content["same_as"] == []


def test_removed_masks_and_drafts(served: Served) -> None:
    client = Client(served)
    given = client.next()
    path = f"/api/images/{given['image']['id']}"
    mask_id = client.put_mask(given, DISC).content["id"]
    removal = {"id": str(uuid.uuid4()), "revision": 2}
    gone = client.request("DELETE", f"{path}/masks/{mask_id}", removal, lease=given["lease"])
    assert gone.status == 200
    draft = {"draft": {"id": "x", "points": [[1, 2, 1]]}}
    assert client.request("PUT", f"{path}/draft", draft).status == 204
    image = client.next()["image"]
    assert image["masks"] == []
    assert image["draft"] == draft["draft"]


def test_a_new_tab_gets_the_image_with_the_draft(served: Served) -> None:
    client = Client(served)
    given = client.next()
    path = f"/api/images/{given['image']['id']}"
    client.request("PUT", f"{path}/draft", {"draft": {"id": "x"}})
    client.request("DELETE", f"{path}/lease", lease=given["lease"])
    again = Client(served).next()
    assert again["image"]["id"] == given["image"]["id"]
    assert again["image"]["draft"] == {"id": "x"}
    assert Client(served, "bob").next()["image"]["draft"] is None
    client.request("PUT", f"{path}/draft", {"draft": None})


def test_a_skipped_and_an_unreadable_image(photos: Path) -> None:
    (photos / "photo_001.png").write_bytes(b"no picture at all")
    with serving(arguments(photos)) as served:
        client = Client(served)
        given = client.next()
        client.put_mask(given, DISC)
        client.put_state(given, "done")
        last = client.next()
        assert last["image"]["name"] == "photo_002.png"
        client.put_state(last, "skipped", reason="too hard")
        assert client.next() is None
        assert served.process.wait(timeout=60) == 3
    records = list(Dataset(photos.parent / "dataset").images())
    assert [record.status.value for record in records] == ["ok", "failed"]
    report = json.loads((photos.parent / "dataset" / "import-report.json").read_text())
    assert report["images"]["notes"]["skipped"]["examples"] == ["photo_002.png"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/static/../guard.py", 404),
        ("GET", "/static/0000000000000000/main.js", 404),
        ("GET", "/static/%2e%2e/%2e%2e/etc/passwd", 404),
        ("GET", "/api/images/1/picture/..%2f..%2fwork.json", 404),
        ("GET", "/api/images/99/picture/x", 404),
        ("PUT", "/api/images/1/masks/../../../etc/passwd", 404),
        ("PUT", "/api/images/1/masks/not-a-uuid", 400),
        ("POST", "/api/images/0/open", 404),
        ("PATCH", "/api/session", 404),
        ("GET", "/nothing", 404),
    ],
)
def test_nothing_else_is_served(served: Served, method: str, path: str, status: int) -> None:
    client = Client(served)
    body = {"tab": client.tab} if path.endswith("/open") else {}
    assert client.request(method, path, body if method != "GET" else None).status == status


def test_who_has_no_link_gets_nothing(served: Served) -> None:
    client = Client(served)
    for token in (None, "Bearer wrong", "Bearer "):
        reply = client.request("GET", "/api/session", headers={"Authorization": token})
        assert (reply.status, reply.content["error"]["code"]) == (401, "no-token")
    assert client.request("GET", "/api/session").content["annotator"] == "anna"


def test_every_answer_has_the_security_headers(served: Served) -> None:
    client = Client(served)
    for path in ("/", "/api/session", "/nothing"):
        headers = client.request("GET", path).headers
        assert headers["content-security-policy"].startswith(
            "default-src 'none'; script-src 'self'"
        )
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert "server" not in headers


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"[]", 400),
        (b'{"tab": NaN}', 400),
        (b'{"a":' * 40 + b"1" + b"}" * 40, 400),
        (b"[" * 100_000, 413),
        (b"[" * 60_000, 400),
        (b'{"tab": "not a uuid"}', 400),
    ],
)
def test_requests_that_make_no_sense(served: Served, body: bytes, status: int) -> None:
    assert Client(served).request("POST", "/api/next", body).status == status


def test_masks_that_cannot_be(served: Served) -> None:
    client = Client(served)
    given = client.next()
    assert client.put_mask(given, np.ones((200, 200), bool)).status == 400
    assert client.put_mask(given, np.zeros(SIZE, bool)).status == 422
    huge = client.put_mask(given, DISC, note="x" * (9 << 20))
    assert huge.status == 413


def test_seconds_are_no_more_than_passed(served: Served) -> None:
    client = Client(served)
    given = client.next()
    clock = [{"id": str(uuid.uuid4()), "search": 100.0, "work": 300.0}]
    seconds = client.put_mask(given, DISC, clock=clock).content["seconds"]
    assert seconds < 60


def test_work_is_served_once(served: Served) -> None:
    with pytest.raises(AssertionError, match=r"is served already \(process \d+, http"):
        start_server(["--work", served.work])


def test_continues_with_the_same_links_and_leases(photos: Path) -> None:
    work = photos.parent / "dataset.annotate"
    with serving(arguments(photos, "--annotator", "bob")) as served:
        client = Client(served)
        given = client.next()
        mask_id = client.put_mask(given, DISC).content["id"]
        served.kill()
    with serving(["--work", work, "--annotator", "anna"]) as again:
        assert again.tokens["anna"] == served.tokens["anna"]
        again.tokens = served.tokens
        client.served = again
        held = Client(again, "bob").next()
        assert held["image"]["id"] != given["image"]["id"]
        reply = client.request(
            "POST", f"/api/images/{given['image']['id']}/lease", lease=given["lease"]
        )
        assert reply.status == 200
        assert [mask["id"] for mask in client.next()["image"]["masks"]] == [mask_id]
        assert again.stop() == 130
    with pytest.raises(AssertionError, match=r"was begun with another --min-area \(0, now 9\)"):
        start_server(arguments(photos, "--min-area", "9"))


def test_a_damaged_journal_is_refused_and_named(photos: Path) -> None:
    work = photos.parent / "dataset.annotate"
    with serving(arguments(photos)) as served:
        client = Client(served)
        given = client.next()
        for x in (20, 60, 100):
            client.put_mask(given, disc(SIZE, x, 40, 9))
        served.kill()
    path = work / "journal" / "000001.log"
    data = bytearray(path.read_bytes())
    place = data.index(b'"kind":"mask"') + 9
    data[place] ^= 1
    path.write_bytes(data)
    with pytest.raises(AssertionError, match=r"000001\.log line \d: .* --accept-damage"):
        start_server(["--work", work, "--annotator", "anna"])
    with serving(["--work", work, "--annotator", "anna", "--accept-damage"]) as again:
        client.served = again
        assert len(client.next()["image"]["masks"]) == 2


def test_whatever_was_acknowledged_survives_kills(tmp_path: Path) -> None:
    """Masks, removals and states under SIGKILL at random moments: all there, nothing twice."""
    photos = write_photos(tmp_path / "photos", 40, (24, 32))
    options = arguments(photos)
    draw = random.Random(1)
    acknowledged: set[str] = set()
    asked: set[str] = set()
    removed: set[str] = set()
    done: set[int] = set()
    client: Client | None = None
    for _ in range(KILLS):
        served = start_server(options)
        client = Client(served) if client is None else client
        client.served = served
        timer = threading.Timer(draw.uniform(0.05, 0.5), served.process.kill)
        timer.start()
        try:
            while True:
                annotate_one(client, draw, acknowledged, asked, removed, done)
        except (OSError, HTTPException, EOFError, TypeError, ValueError):
            pass  # the server is gone, before, in or after an answer
        timer.join()
        served.process.wait()
        assert served.process.stdout is not None
        served.process.stdout.close()
        check(tmp_path / "dataset.annotate", acknowledged - asked, removed, done)
    assert len(acknowledged) > KILLS
    assert done


def annotate_one(
    client: Client,
    draw: random.Random,
    kept: set[str],
    asked: set[str],
    removed: set[str],
    done: set[int],
) -> None:
    given = client.next()
    own = []
    for _ in range(3):
        mask_id = str(uuid.uuid4())
        mask = disc((24, 32), draw.uniform(8, 24), draw.uniform(8, 16), 5)
        if client.put_mask(given, mask, mask_id=mask_id).status == 200:
            kept.add(mask_id)
            own.append(mask_id)
    body = {"id": str(uuid.uuid4()), "revision": 2}
    path = f"/api/images/{given['image']['id']}/masks/{own[0]}"
    asked.add(own[0])
    if client.request("DELETE", path, body, lease=given["lease"]).status == 200:
        removed.add(own[0])
    if client.put_state(given, "done").status == 200:
        done.add(given["image"]["id"])


def check(work: Path, there: set[str], removed: set[str], done: set[int]) -> None:
    events: list[Any] = list(read_journal(work).believed())
    answers = fold(events)
    live = [drawn.id for image in answers.images.values() for drawn in image.live()]
    assert there <= set(live)
    assert not removed & set(live)
    assert len(live) == len(set(live))
    ids = [event["id"] for event in events if "id" in event]
    assert len(ids) == len(set(ids))
    assert all(answers.images[image].answered is not None for image in done)


def test_status_of_the_process_when_it_is_stopped(photos: Path) -> None:
    with serving(arguments(photos)) as served:
        client = Client(served)
        client.put_mask(client.next(), DISC)
        time.sleep(0.1)
        assert served.stop() == 130
        assert served.process.stdout is not None
        said = served.process.stdout.read()
    assert "sa-engine annotate --work" in said
    assert "sa-engine import" in said


def test_all_images_are_encoded_before_anybody_asks(photos: Path, small_model: Path) -> None:
    (photos / "photo_003.png").write_bytes(b"no image")
    out = photos.parent / "dataset"
    options: list[str | Path] = [
        "--images",
        photos,
        "--out",
        out,
        "--checkpoint",
        small_model,
        "--prepare",
    ]
    with serving([*options, "--device", "cpu", "--annotator", "anna"]) as served:
        cache = photos.parent / "dataset.annotate" / "cache"
        assert len(list(cache.rglob("*.safetensors"))) == 3
        # Already loaded when the first image is asked for.
        assert Client(served).next()["image"]["model"]["input"] == 128
