"""`sa-engine loop` as a user runs it; what a loop does is tested in tests/pipelines."""

from pathlib import Path

import pytest

from sa_engine.cli.main import main
from tests.support.scene_datasets import write_scenes

CONFIG = """
out = "out"

[variables]
data = "people"

[evaluate]
data = ["held"]
max_images = 1
max_masks = 1

[[round]]
name = "first"

[[round.gather]]
name = "drawn"
kind = "dataset"
data = "{data}"
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A loop that only gathers, and is measured with the bundled model."""
    write_scenes(tmp_path / "people", range(2))
    write_scenes(tmp_path / "held", range(10, 11))
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "loop.toml"
    path.write_text(CONFIG)
    return path


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["loop", *arguments])
    return int(ended.value.code or 0)


def test_a_loop_and_its_status(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("loop.toml", "--status") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines] == [
        "round state mean IoU model images masks masks/img time".split(),
        ["first", "pending"],
        ["in", "force:", "model", "of", "start,", "detector", "of", "start"],
        "next: start: measure".split(),
    ]
    assert not (config.parent / "out").exists()

    assert run("loop.toml") == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    lines = captured.out.splitlines()
    assert lines[0].startswith("start: measure: mean IoU 0.")
    assert lines[3].split()[:3] == ["first", "done", "2"]
    assert lines[4].startswith("masks by stage: ")
    assert lines[-1] == f"{config.parent / 'out' / 'index.html'} shows the curves"
    assert (config.parent / "out" / "rounds" / "01-first" / "round.json").is_file()

    assert run("loop.toml", "--set", "data=held", "--status") == 0
    assert capsys.readouterr().out.splitlines()[2].split()[:3] == ["first", "done", "1"]


@pytest.mark.parametrize(
    ("text", "arguments", "message"),
    [
        (CONFIG.replace("name", "nam"), [], "Error: [[round]] 1 needs 'name'"),
        (CONFIG + "kin = 1", [], "has an unknown key 'kin' (did you mean 'kind'?)"),
        (CONFIG.replace('"{data}"', '"none"'), [], "there is no "),
        (CONFIG, ["--set", "data"], "--set 'data' is not NAME=VALUE"),
        (CONFIG, ["--set", "date=x"], "declares no variable 'date' (did you mean 'data'?)"),
        (CONFIG, ["--out", "loop.toml"], "cannot make loop.toml: "),
    ],
)
def test_bad_input_is_one_clear_line(
    config: Path,
    capsys: pytest.CaptureFixture[str],
    text: str,
    arguments: list[str],
    message: str,
) -> None:
    config.write_text(text)
    assert run("loop.toml", *arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err
    assert captured.err.startswith("Error: ") and captured.err.count("\n") == 1
