"""docs/json.md names the keys that commands print with --json, all of them and no others."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from sa_engine.cli.main import group
from tests.support.scene_datasets import write_scenes

PAGE = Path(__file__).resolve().parents[2] / "docs" / "json.md"


def documented(command: str) -> set[str]:
    """The keys in the tables of a command's section."""
    sections = re.split(r"^## ", PAGE.read_text("utf-8"), flags=re.MULTILINE)
    (section,) = [each for each in sections if f"`{command}`" in each.splitlines()[0]]
    cells = re.findall(r"^\| (`[^|]*) \|", section, flags=re.MULTILINE)
    return {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}


def printed(capsys: pytest.CaptureFixture[str], *words: str | Path) -> dict[str, Any]:
    capsys.readouterr()
    group.main([*map(str, words), "--json"], standalone_mode=False)
    found = json.loads(capsys.readouterr().out)
    assert isinstance(found, dict)
    return found


def test_the_page_names_every_key(
    tmp_path: Path, small_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = write_scenes(tmp_path / "dataset", range(4))
    pictures = tmp_path / "coco" / "images"
    made = {
        "status": ("status", dataset),
        "verify": ("verify", dataset),
        "export": ("export", dataset, "--format", "coco", "--out", tmp_path / "coco"),
        "import": ("import", tmp_path / "coco", "--out", tmp_path / "again"),
        "merge": ("merge", dataset, tmp_path / "again", "--out", tmp_path / "both"),
        "split": ("split", dataset, "--val", "0.5"),
        "show": ("show", dataset, "--out", tmp_path / "pictures"),
        "report": ("report", dataset, "--out", tmp_path / "report"),
        "auto": (
            *("auto", "--images", pictures, "--out", tmp_path / "auto", "--limit", "1"),
            *("--checkpoint", small_model, "--points-per-side", "2", "--precision", "fp32"),
        ),
    }
    for command, words in made.items():
        expected = documented(command)
        if command == "import":
            expected |= documented("auto")
        assert printed(capsys, *words).keys() == expected, command
