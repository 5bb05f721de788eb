"""How much a command says, and in which form: -q, -v and --json, which every command has."""

import dataclasses
import json
import math
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any

import click

from sa_engine.cli.shared.printable import printable

_KEY = "sa_engine.console"


@dataclasses.dataclass(slots=True)
class Console:
    """What a command prints goes through here.

    quiet: no progress and no notes, the result alone. verbose: a line for each image or step, too.
    as_json: the result is one JSON object on stdout, and nothing else is.
    """

    quiet: bool = False
    verbose: bool = False
    as_json: bool = False

    def say(self, text: str) -> None:
        """A line of the result, for people."""
        if not self.as_json:
            click.echo(printable(text))

    def note(self, text: str) -> None:
        """A remark beside the result, on stderr."""
        if not self.quiet:
            click.echo(printable(text), err=True)

    def detail(self, text: str) -> None:
        """What only those want to see who asked for more, on stderr."""
        if self.verbose:
            click.echo(printable(text), err=True)

    def result(self, record: Any) -> None:
        """The result for programs: a dataclass or a mapping of plain values."""
        if self.as_json:
            click.echo(json.dumps(_plain(record), indent=1, allow_nan=False))


def console() -> Console:
    """The console of the command that runs."""
    context = click.get_current_context(silent=True)
    if context is None:
        return Console()
    found: Console = context.meta.setdefault(_KEY, Console())
    return found


def console_options() -> list[click.Option]:
    """The options of every command that say how much it says."""

    def set_field(_: click.Context, parameter: click.Parameter, value: bool) -> None:
        if value:
            setattr(console(), str(parameter.name), True)

    texts = (
        (("-q", "--quiet"), "quiet", "Say nothing but the result and errors."),
        (("-v", "--verbose"), "verbose", "Say a line for each image or step, too."),
        (("--json",), "as_json", "Print the result as one JSON object."),
    )
    return [
        click.Option(
            [*names, field],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=set_field,
            help=text,
        )
        for names, field, text in texts
    ]


def _plain(value: Any) -> Any:
    """A value as JSON has it: what is not finite is null, paths and enums are text."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(inner) for inner in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Path):
        return str(value)
    return value
