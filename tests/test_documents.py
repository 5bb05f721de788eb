"""What the documents say of the command line is so."""

import re
import shlex
import subprocess
import sys
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


def check(line: str) -> None:
    """AssertionError unless a command line names a command, and options that it has."""
    command, rest = find(shlex.split(line, comments=True))
    assert not isinstance(command, click.Group) or rest[:1] in ([], ["--help"]), (
        f"{line!r}: no such"
    )
    known = {name for parameter in command.params for name in parameter.opts}
    known |= {name for parameter in command.params for name in parameter.secondary_opts}
    for word in rest:
        if re.match(r"--?[a-z]", word):
            name = word.partition("=")[0]
            assert name in known | {"--help", "-h"}, f"{line!r}: there is no option {name}"


@pytest.mark.parametrize(("document", "line"), mentioned())
def test_commands_in_the_documents_exist_with_their_options(document: str, line: str) -> None:
    check(line)


@pytest.mark.parametrize(
    "line", ["atuo --images a --out b", "model shwo vit_t", "auto --image a", "status -x d"]
)
def test_a_misspelt_command_would_be_noticed(line: str) -> None:
    with pytest.raises(AssertionError, match="there is no"):
        check(line)


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


def walked() -> list[tuple[str, str]]:
    """Files and names in them that the architecture's walks go through."""
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    return re.findall(r"`(\w+/[\w/]+\.py)(?::\s*([\w.]+))?`", text)


@pytest.mark.parametrize(("path", "name"), walked())
def test_the_architecture_names_what_is_there(path: str, name: str) -> None:
    file = next((each for each in (ROOT / path, ROOT / "sa_engine" / path) if each.exists()), None)
    assert file is not None, f"docs/architecture.md names {path}"
    defined = re.findall(r"^\s*(?:def|class) (\w+)", file.read_text("utf-8"), re.MULTILINE)
    assert set(name.split(".")) <= {*defined, ""}, f"{path} has no {name}"


@pytest.mark.parametrize(
    ("script", "page"), [("command_reference.py", "cli.md"), ("python_reference.py", "python.md")]
)
def test_a_reference_is_of_this_version(tmp_path: Path, script: str, page: str) -> None:
    # A process of its own: click remembers how a command was asked for help before.
    made = tmp_path / page
    subprocess.run([sys.executable, ROOT / "docs" / script, made], cwd=ROOT, check=True)
    kept = (ROOT / "docs" / page).read_text("utf-8")
    assert kept.split() == made.read_text("utf-8").split(), f"make docs writes docs/{page} again"


@pytest.mark.parametrize("url", [None, "https://example.org/sa-engine/blob/v1"])
def test_readme_for_a_package_index_leads_nowhere_beside_it(url: str | None) -> None:
    words = [sys.executable, str(ROOT / "docs" / "package_readme.py"), *([url] if url else [])]
    made = subprocess.run(
        words, capture_output=True, text=True, check=True, encoding="utf-8"
    ).stdout
    links = re.findall(r"\]\(([^)]+)\)", made)
    assert all(link.startswith(("https://", "#")) for link in links)
    readme = (ROOT / "README.md").read_text("utf-8")
    assert len(made.splitlines()) > 0.9 * len(readme.splitlines())
    if url:
        assert "https://example.org/sa-engine/raw/v1/examples/masks.jpg" in links
        assert "https://example.org/sa-engine/blob/v1/docs/cli.md" in links
    else:
        assert "![" not in made and "docs/" in made
