"""Write docs/cli.md: every command's help, as the terminal shows it.

python docs/command_reference.py [FILE]
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from sa_engine.cli.main import group

TARGET = Path(__file__).with_name("cli.md")
HEAD = """# Command reference

Made by `make docs` from the commands themselves; `sa-engine COMMAND --help` shows the same.
"""


def commands(
    command: click.Command, path: tuple[str, ...], parent: click.Context | None
) -> Iterator[tuple[str, str]]:
    """Name and help of a command and of those below it, in the order of their group."""
    settings = {**command.context_settings, "terminal_width": 100}
    context = click.Context(command, info_name=path[-1], parent=parent, **settings)
    yield " ".join(path), command.get_help(context)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            if below is not None:
                yield from commands(below, (*path, name), context)


def reference() -> str:
    """The whole page."""
    parts = [
        f"## {name}\n\n```text\n{text.rstrip()}\n```\n"
        for name, text in commands(group, ("sa-engine",), None)
    ]
    return "\n".join([HEAD, *parts])


if __name__ == "__main__":
    Path(sys.argv[1] if len(sys.argv) > 1 else TARGET).write_text(reference(), "utf-8")
