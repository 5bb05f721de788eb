"""The command line as a whole: help, names, statuses, errors at the edge."""

import subprocess
import sys
from pathlib import Path

import click
import pyarrow as pa
import pytest

from sa_engine.cli import main as cli
from sa_engine.cli.main import group, main
from sa_engine.cli.shared.command import CommandGroup, GroupedCommand
from sa_engine.errors import ExitStatus
from sa_engine.model.bundled import DEFAULT_MODEL, bundled_card
from tests.cli.conftest import environment

LIGHT = (
    *(
        "auto",
        "semi",
        "annotate",
        "import",
        "export",
        "show",
        "report",
        "audit",
        "status",
        "verify",
    ),
    *("merge", "split", "train", "loop"),
)
GROUPED = (
    *("evaluate points", "model compare", "audit draw"),
    *("train sam", "train detector", "train align", "train pack"),
)
"""Commands whose help does not load torch."""


def test_help_does_not_wait_for_torch() -> None:
    code = (
        "import sys\n"
        "from sa_engine.cli.main import group\n"
        f"for words in {[words.split() for words in LIGHT + GROUPED]}:\n"
        "    assert group.main([*words, '--help'], standalone_mode=False) == 0, words\n"
        "sys.exit('torch' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_required_options_come_first_and_defaults_are_those_that_work(
    capsys: pytest.CaptureFixture[str],
) -> None:
    group.main(["auto", "--help"], standalone_mode=False)
    text = " ".join(capsys.readouterr().out.split())
    assert text.index("--out") < text.index("--preset") < text.index("--quiet")
    card = bundled_card()
    assert card is not None
    assert f"[default: the model's own: {card.pred_iou_thresh:g} for {DEFAULT_MODEL}" in text
    assert "None" not in text and "(see" not in text


def test_images_are_given_once(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["auto", "--out", "x"], ["auto", "a", "--images", "b", "--out", "x"]):
        with pytest.raises(SystemExit) as stopped:
            main(words)
        assert stopped.value.code == ExitStatus.USAGE
        assert "give the images once" in capsys.readouterr().err


def every_command() -> list[tuple[str, click.Command]]:
    found = []
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            assert isinstance(command, CommandGroup), name
            found += [(f"{name} {sub}", each) for sub, each in command.commands.items()]
        else:
            found.append((name, command))
    return found


@pytest.mark.parametrize(("name", "command"), every_command(), ids=lambda value: str(value))
def test_every_command_can_be_quiet_verbose_and_read_by_programs(
    name: str, command: click.Command
) -> None:
    assert isinstance(command, GroupedCommand)
    names = {option for parameter in command.params for option in parameter.opts}
    assert {"-q", "--quiet", "-v", "--verbose", "--json"} <= names
    # One name for one thing.
    assert not names & {"--count", "--max-count", "--dtype"}
    if "--max-images" in names:
        assert "--limit" in names


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["atuo", "x"], "No such command 'atuo'. Did you mean 'auto'?"),
        (["evaluate", "point"], "Did you mean 'points'"),
        (["auto", "--devices", "cpu"], "No such option"),
        (["split", "d", "--val", "x"], "is not a valid float"),
        (["verify", "d", "--device", "tpu"], "'tpu' is not one of auto, cpu, cuda, cuda:N and mps"),
        (["evaluate", "points", "d", "--out", "."], ". is a folder: name a file in it"),
        (["evaluate", "table", "rows.csv"], "there is no file rows.csv"),
    ],
)
def test_mistakes_are_usage_errors(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(words)
    said = capsys.readouterr()
    assert (stopped.value.code, said.out) == (ExitStatus.USAGE, "")
    assert message in " ".join(said.err.split())


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(28, "No space left on device", "x.tar"), "Error: x.tar: No space left on device"),
        (pa.ArrowInvalid("cut\nshort"), "Error: a file cannot be read or written: cut short"),
    ],
)
def test_errors_of_files_end_in_one_line(
    error: Exception,
    line: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(cli.group, "main", fail)
    with pytest.raises(SystemExit) as stopped:
        main(["auto"])
    assert (stopped.value.code, capsys.readouterr().err) == (ExitStatus.ERROR, f"{line}\n")


def test_ctrl_c_says_whether_the_same_command_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    for resumes, words in ((True, "continues where it stopped"), (False, "from the beginning")):
        command = GroupedCommand("work", callback=interrupted, resumes=resumes)
        with pytest.raises(Exception, match=words):
            command.main([], standalone_mode=False)


def test_the_version_has_a_short_name(capsys: pytest.CaptureFixture[str]) -> None:
    group.main(["-V"], standalone_mode=False)
    assert capsys.readouterr().out.startswith("sa-engine, version ")


def test_statuses_are_told_in_the_readme() -> None:
    text = (Path(__file__).resolve().parents[2] / "README.md").read_text("utf-8")
    for status in ExitStatus:
        assert f"{status.value} " in text, status
