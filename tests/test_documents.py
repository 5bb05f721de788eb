"""What the documents say of the command line is so."""

import re
import shlex
from pathlib import Path

import click
import pytest

from sa_engine.cli.main import COMMANDS, group

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "examples").rglob("*.md"))]


def find(words: list[str]) -> tuple[click.Command, list[str]]:
    """The (sub)command that words begin with, and the words that are left."""
    command: click.Command = group
    context = click.Context(group)
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        found = command.get_command(context, words[0])
        assert found is not None, f"there is no command {words[0]!r}"
        command, words = found, words[1:]
    return command, words


def mentioned() -> list[tuple[str, str]]:
    """Each `sa-engine …` line or inline mention of the documents, with the document's name."""
    found = []
    for path in DOCUMENTS:
        text = path.read_text("utf-8").replace("\\\n", " ")
        for match in re.finditer(r"(?:^|[\s`$/(])sa-engine ([a-z][^`#\n]*)", text, re.MULTILINE):
            found.append((path.name, match[1].strip()))
    return found


@pytest.mark.parametrize(("document", "line"), mentioned())
def test_commands_in_the_documents_exist_with_their_options(document: str, line: str) -> None:
    words = shlex.split(line, comments=True)
    if words[0] not in COMMANDS:
        pytest.skip("prose, not a command")
    command, rest = find(words)
    known = {name for parameter in command.params for name in parameter.opts} | {"--help", "-h"}
    for word in rest:
        if word.startswith("--"):
            assert word.partition("=")[0] in known, f"{document}: {line!r} has no {word}"


def commands() -> list[tuple[str, click.Command]]:
    """Every command, those of groups included."""
    found = []
    context = click.Context(group)
    for name in COMMANDS:
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            found += [(f"{name} {sub}", each) for sub, each in command.commands.items()]
        else:
            found.append((name, command))
    return found


@pytest.mark.parametrize(("name", "command"), commands(), ids=lambda value: str(value))
def test_every_command_says_what_it_does_and_gives_an_example(
    name: str, command: click.Command
) -> None:
    assert command.help
    text = f"{command.help} {command.epilog}"
    assert f"sa-engine {name}" in text, f"{name} gives no example"
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{name} {parameter.opts} has no help"
