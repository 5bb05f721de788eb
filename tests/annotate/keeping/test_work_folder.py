"""WORK on disk: begun once, with one set of options, by one server."""

import json
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from sa_engine.annotate.keeping.work_folder import locked, open_work, read_links
from sa_engine.dataset.sources.listing import list_sources
from sa_engine.errors import DamagedError, UsageError
from sa_engine.formats.work.settings import Mode, WorkSettings, read_settings
from tests.support.served import write_photos


@pytest.fixture
def settings(tmp_path: Path) -> WorkSettings:
    photos = write_photos(tmp_path / "photos", 2)
    sources = list_sources(photos)
    return WorkSettings(
        mode=Mode.ANNOTATE, images=str(photos), sources=sources.digest(), out="dataset"
    )


def begin(work: Path, settings: WorkSettings) -> None:
    open_work(work, settings, list_sources(settings.images or ""))


def test_settings_come_back(tmp_path: Path, settings: WorkSettings) -> None:
    said = replace(settings, proposals=("a", "b"), sample=3)
    begin(tmp_path / "work", said)
    assert read_settings(tmp_path / "work") == said
    begin(tmp_path / "work", said)


def test_another_option_is_named(tmp_path: Path, settings: WorkSettings) -> None:
    begin(tmp_path / "work", settings)
    with pytest.raises(UsageError, match=r"another --min-area \(0, now 5\)"):
        begin(tmp_path / "work", replace(settings, min_area=5))


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path, settings: WorkSettings) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "letter.txt").write_text("dear")
    with pytest.raises(UsageError, match="not empty"):
        begin(tmp_path / "work", settings)


def test_a_changed_byte_is_found(tmp_path: Path, settings: WorkSettings) -> None:
    begin(tmp_path / "work", settings)
    path = tmp_path / "work" / "work.json"
    path.write_bytes(path.read_bytes().replace(b'"seed": 0', b'"seed": 1'))
    with pytest.raises(DamagedError, match=r"work\.json is damaged"):
        read_settings(tmp_path / "work")
    with pytest.raises(UsageError, match=r"holds no work\.json"):
        read_settings(tmp_path)


def test_one_server_at_a_time(tmp_path: Path) -> None:
    other = locked(tmp_path, "http://127.0.0.1:2/")
    with (
        locked(tmp_path, "http://127.0.0.1:1/"),
        pytest.raises(UsageError, match=r"process \d+, http://127.0.0.1:1/"),
    ):
        other.__enter__()
    with locked(tmp_path, "http://127.0.0.1:2/"):
        pass


def test_links_stay_until_new_ones_are_asked_for(tmp_path: Path) -> None:
    first = read_links(tmp_path, ["anna", "bob"])
    assert len(set(first.values())) == 2
    assert all(len(token) >= 43 for token in first.values())
    assert read_links(tmp_path, ["anna"]) == first
    path = tmp_path / "links.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert json.loads(path.read_text()) == first
    renewed = read_links(tmp_path, ["anna"], renew=True)
    assert list(renewed) == ["anna"]
    assert renewed["anna"] != first["anna"]


@pytest.mark.parametrize("name", ["", "a b", "../x", "é", "x" * 65])
def test_names_that_cannot_be(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="--annotator"):
        read_links(tmp_path, [name])
