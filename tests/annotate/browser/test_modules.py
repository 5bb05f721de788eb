"""The page's own modules, one by one, against the engine's and by hand-made cases."""

import json
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sa_engine.masks.rle import Rle, bbox_xywh, decode, encode
from sa_engine.model.framing import logits_at_full_size
from tests.support.browser import Annotator, need_browser
from tests.support.served import Client, Served, serving, write_photos

WEB = Path(__file__).resolve().parents[3] / "sa_engine" / "annotate" / "web"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    need_browser()
    photos = write_photos(tmp_path_factory.mktemp("modules") / "photos", 2, (120, 200))
    options: list[str | Path] = [
        "--images",
        photos,
        "--out",
        photos.parent / "dataset",
        "--annotator",
        "anna",
    ]
    with serving(options) as served:
        served.work = photos.parent / "dataset.annotate"
        yield served


@pytest.fixture(scope="module")
def page(served: Served, browser: Any) -> Iterator[Annotator]:
    """A page that nobody is signed in to: its modules can be imported."""
    page = browser.new_page()
    page.goto(served.url)
    yield Annotator(page, served)
    page.close()


@pytest.mark.parametrize("path", sorted(WEB.rglob("*.js")), ids=lambda path: path.name)
def test_every_module_is_one(page: Annotator, path: Path) -> None:
    name = path.relative_to(WEB).as_posix()
    if name != "main.js":
        assert page.module(name, "Object.keys(m).length") > 0
    assert len(path.read_text("utf-8").splitlines()) <= 400


def test_every_text_that_is_used_is_there() -> None:
    texts = (WEB / "core" / "texts.js").read_text("utf-8")
    known = set(re.findall(r"^  (\w+):", texts, re.MULTILINE))
    used = {
        name
        for path in WEB.rglob("*.js")
        for name in re.findall(r"\bTEXTS\.(\w+)", path.read_text("utf-8"))
    }
    assert used <= known
    assert len(used) > 60


def test_every_key_has_a_text_and_an_action(page: Annotator) -> None:
    keys = page.module("ui/keys.js", "Object.keys(m.DEFAULT_KEYS)")
    texts = page.module("core/texts.js", "Object.keys(m.ACTION_TEXTS)")
    assert sorted(keys) == sorted(texts)
    every = page.module("ui/keys.js", "Object.values(m.DEFAULT_KEYS).flat()")
    assert len(every) == len(set(every))


def random_masks() -> list[Any]:
    rng = np.random.default_rng(0)
    masks: list[Any] = [rng.random((17, 23)) < share for share in (0.02, 0.3, 0.7, 0.98)]
    masks += [np.zeros((9, 7), bool), np.ones((9, 7), bool), np.ones((1, 1), bool)]
    ring = np.zeros((40, 60), bool)
    ring[5:35, 10:50] = True
    ring[12:20, 20:30] = False
    masks += [ring, ring.T.copy(), np.eye(30, dtype=bool), ~np.eye(30, dtype=bool)]
    large = np.zeros((3000, 4000), bool)
    large[100:2900, 37:3999] = rng.random((2800, 3962)) < 0.5
    return [*masks, large[:, ::97].copy()]


def test_masks_go_both_ways_as_in_the_engine(page: Annotator) -> None:
    for mask in random_masks():
        height, width = mask.shape
        rle = encode(mask)
        found = page.module(
            "core/rle.js",
            """(() => {
              const [counts, height, width] = arg;
              const ends = m.runEnds(counts);
              const all = [0, 0, width, height];
              const bits = m.bitsInside(ends, height, all);
              const part = [width >> 2, height >> 2, width - (width >> 3), height - (height >> 3)];
              const inner = m.bitsInside(ends, height, part);
              const back = m.encodeBits(bits, all, [height, width]);
              const partial = m.encodeBits(inner, part, [height, width]);
              const probe = [];
              for (let i = 0; i < 50; i++) {
                const [x, y] = [(i * 7) % width, (i * 11) % height];
                probe.push(m.holds(ends, height, x, y) === Boolean(bits[y * width + x]));
              }
              return {counts: back.rle.counts, area: back.area, box: back.box, part,
                partial: partial.rle.counts, probe: probe.every(Boolean)};
            })()""",
            [rle.counts, height, width],
        )
        assert found["counts"] == rle.counts
        assert found["area"] == mask.sum()
        assert tuple(found["box"]) == bbox_xywh(rle)
        assert found["probe"]
        x0, y0, x1, y1 = found["part"]
        expected = np.zeros_like(mask)
        expected[y0:y1, x0:x1] = mask[y0:y1, x0:x1]
        assert np.array_equal(decode(Rle(rle.size_hw, found["partial"])), expected)


def test_an_answer_is_drawn_as_the_engine_draws_it(page: Annotator, served: Served) -> None:
    """Two bilinear steps in the page give the masks that `Predictor.predict` would draw."""
    client = Client(served)
    given = client.next()
    image = given["image"]
    body = {"seq": 1, "points": [[66, 60, 1]], "multimask": True}
    reply = client.request("POST", f"/api/images/{image['id']}/predict", body, lease=given["lease"])
    while reply.status == 202:
        page.page.wait_for_timeout(200)
        reply = client.request(
            "POST", f"/api/images/{image['id']}/predict", body, lease=given["lease"]
        )
    assert reply.status == 200
    drawn = page.module(
        "core/pixels.js",
        """(() => {
          const answer = m.readAnswer(Uint8Array.from(arg).buffer);
          return answer.iou.map((iou, k) => {
            const bits = new Uint8Array(120 * 200);
            m.sampleAnswer(answer, k, m.range(0, 200), m.range(0, 120), bits);
            return { iou, bits: Array.from(bits), rect: m.answerRect(answer, k) };
          });
        })()""",
        list(reply.data),
    )
    (length,) = struct.unpack("<I", reply.data[:4])
    head = json.loads(reply.data[4 : 4 + length])
    logits = np.frombuffer(reply.data[4 + length :], "<i2").astype(np.float32) / 256
    full = logits_at_full_size(
        torch.from_numpy(logits.reshape(3, head["side"], head["side"])),
        input_hw=tuple(head["input_hw"]),
        size_hw=(120, 200),
        image_size=4 * head["side"],
    )
    for found, iou, truth in zip(drawn, head["iou"], full.numpy() > 0, strict=True):
        mask = np.array(found["bits"], bool).reshape(120, 200)
        assert found["iou"] == iou
        assert (mask != truth).sum() <= 2
        assert mask.any()
        x0, y0, x1, y1 = found["rect"]
        assert mask[y0:y1, x0:x1].sum() == mask.sum()


def test_strokes_are_discs_along_a_line(page: Annotator) -> None:
    found = page.module(
        "core/pixels.js",
        """(() => {
          const overlay = new Uint8Array(40 * 60);
          m.paintStroke(overlay, [40, 60], {mode: 1, radius: 5, path: [10.5, 10.5, 40.5, 20.5]});
          m.paintStroke(overlay, [40, 60], {mode: 2, radius: 2, path: [10.5, 10.5]});
          return Array.from(overlay);
        })()""",
    )
    overlay = np.array(found).reshape(40, 60)
    rows, columns = np.mgrid[:40, :60] + 0.5
    along = np.clip(((columns - 10.5) * 30 + (rows - 10.5) * 10) / 1000, 0, 1)
    far = np.hypot(columns - 10.5 - 30 * along, rows - 10.5 - 10 * along)
    expected = np.where(far <= 5, 1, 0)
    expected[np.hypot(columns - 10.5, rows - 10.5) <= 2] = 2
    assert np.array_equal(overlay, expected)


def test_only_the_part_that_is_clicked_changes(page: Annotator) -> None:
    base = np.zeros((20, 30), np.uint8)
    base[5:15, 5:15] = 1
    answer = base.copy()
    answer[8:12, 15:20] = 1
    answer[2:5, 5:9] = 1
    answer[12:14, 25:28] = 1
    found = page.module(
        "core/pixels.js",
        """(() => {
          const [base, answer, clicks] = arg.map((each) => Uint8Array.from(each.flat()));
          const n = m.takeOverParts(base, answer, [0, 0, 30, 20], [[17, 9], [0, 0]]);
          return [n, Array.from(base)];
        })()""",
        [base.tolist(), answer.tolist(), []],
    )
    expected = base.copy()
    expected[8:12, 15:20] = 1
    assert found[0] == 20
    assert np.array_equal(np.array(found[1]).reshape(20, 30), expected)


def test_crumbs_and_holes(page: Annotator) -> None:
    mask = np.zeros((20, 30), np.uint8)
    mask[2:18, 2:20] = 1
    mask[6:8, 6:8] = 0
    mask[5, 25] = 1
    found = page.module(
        "core/pixels.js",
        "Array.from(m.crumbs(Uint8Array.from(arg.flat()), 30, 10))",
        mask.tolist(),
    )
    changed = np.array(found).reshape(20, 30)
    assert (changed[6:8, 6:8] == 1).all()
    assert changed[5, 25] == 2
    assert (changed != 0).sum() == 5


def test_the_clock(page: Annotator) -> None:
    found = page.module(
        "core/clock.js",
        """(() => {
          const clock = m.newClock(100);
          m.touched(clock, 103);
          m.beginWork(clock, 104);
          m.waited(clock, 1.25, 106);
          m.setCounting(clock, false, 107);
          m.setCounting(clock, true, 207);
          m.touched(clock, 208);
          const first = m.close(clock, 'a', 240);
          const second = m.close(clock, 'b', 241);
          return [first, second];
        })()""",
    )
    # 4 s to the first click; then 3 s of which 1 was waiting, 1 after the pause, 15 until idle.
    first, second = found
    assert first == {"id": "a", "search": 4, "work": 18, "waited": 1, "idle": 17}
    assert second["work"] == 0
    assert second["search"] + second["idle"] == 1


def test_keys_are_named_by_what_is_printed(page: Annotator) -> None:
    cases = [
        ({"key": "b", "code": "KeyB"}, "b"),
        ({"key": "q", "code": "KeyA"}, "q"),
        ({"key": "&", "code": "Digit1"}, "1"),
        ({"key": "Z", "code": "KeyZ", "ctrlKey": True, "shiftKey": True}, "Ctrl+Shift+Z"),
        ({"key": "?", "code": "Slash", "shiftKey": True}, "?"),
        ({"key": "ArrowUp", "code": "ArrowUp", "shiftKey": True}, "Shift+ArrowUp"),
        ({"key": " ", "code": "Space", "shiftKey": True}, "Shift+ "),
        ({"key": "z", "code": "KeyZ", "metaKey": True}, "Ctrl+z"),
    ]
    for event, name in cases:
        assert page.module("ui/keys.js", "m.keyName(arg)", event) == name


def test_colours_of_neighbours_differ(page: Annotator) -> None:
    found = page.module(
        "core/palette.js",
        """(() => {
          const masks = [];
          for (let i = 0; i < 40; i++) {
            const box = [(i % 8) * 10, Math.floor(i / 8) * 10, 10, 10];
            masks.push({ box, colour: m.chooseColour(box, masks) });
          }
          return masks.map((mask) => mask.colour);
        })()""",
    )
    grid = np.array(found).reshape(5, 8)
    assert (grid[:, 1:] != grid[:, :-1]).all()
    assert (grid[1:] != grid[:-1]).all()


MATRICES = {
    # Machado, Oliveira and Fernandes, "A physiologically-based model for simulation of color
    # vision deficiency" (2009), severity 1.0; and luminance for none at all.
    "protanopia": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
    "deuteranopia": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
    "tritanopia": [[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]],
    "normal": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
}


@pytest.mark.parametrize("kind", list(MATRICES))
def test_the_mask_in_hand_is_told_from_finished_ones(page: Annotator, kind: str) -> None:
    in_hand = np.array(page.module("core/palette.js", "m.IN_HAND"), float)
    finished = np.array(page.module("core/palette.js", "m.FINISHED"), float)
    matrix = np.array(MATRICES[kind])
    seen = finished @ matrix.T - matrix @ in_hand
    assert np.linalg.norm(seen, axis=1).min() > 50
