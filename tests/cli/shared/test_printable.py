"""Names from files are printed; what a terminal would act upon is spelled out."""

import json
import os
from pathlib import Path

import pytest
from PIL import Image

from sa_engine.cli.shared.printable import in_line, printable
from tests.cli.conftest import Run

CLEAR = "\x1b[2J\x1b]0;owned\x07"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a.jpg: 3 masks\n\tand more", "a.jpg: 3 masks\n\tand more"),
        ("H\u00fctte \u732b \u0645\u0631", "H\u00fctte \u732b \u0645\u0631"),
        (CLEAR, "\\x1b[2J\\x1b]0;owned\\x07"),
        ("a\rb\x9bc\x7f", "a\\x0db\\x9bc\\x7f"),
        ("gpj.\u202egnp", "gpj.\\u202egnp"),
        ("\ud800", "\\ud800"),
    ],
)  # fmt: skip
def test_what_a_terminal_acts_upon_is_spelled_out(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_a_name_does_not_break_its_line() -> None:
    assert in_line("a\nError: gone\t") == "a\\nError: gone\\t"


def test_no_escape_of_a_file_reaches_the_terminal(sa_engine: Run, tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    Image.new("RGB", (8, 6)).save(images / "a.png")
    bad = os.fsencode(images) + b"/" + f"b{CLEAR}.png".encode()
    Path(os.fsdecode(bad)).write_bytes(b"no image")
    evil = {"id": f"i{CLEAR}", "image_id": 1, "category_id": 1, "segmentation": [[1, 1]]}
    content = {
        "images": [
            {"id": 1, "file_name": "a.png", "width": 8, "height": 6},
            {"id": 2, "file_name": f"b{CLEAR}.png", "width": 8, "height": 6},
            {"id": 3, "file_name": f"gone{CLEAR}\nError: none.png", "width": 8, "height": 6},
        ],
        "annotations": [evil],
        "categories": [],
    }
    (tmp_path / "instances.json").write_text(json.dumps(content))
    for arguments in (
        ("import", "instances.json", "--out", "set"),
        ("status", "set"),
        ("verify", "set"),
        ("import", f"no{CLEAR}.json", "--out", "set"),
        ("auto", f"--{CLEAR}"),
    ):
        done = sa_engine(*arguments)
        said = done.stdout + done.stderr
        assert said and "\x1b" not in said and "\x07" not in said
        assert not any(line.startswith("Error: none") for line in said.splitlines())
