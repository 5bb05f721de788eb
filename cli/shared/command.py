"""What the engine's commands have in common: help by group, -q, -v and --json, suggestions."""

import difflib
from collections.abc import Callable
from typing import Any

import click

from sa_engine.cli.shared.console import console_options
from sa_engine.errors import InterruptedRun

OUTPUT = "Output"
REQUIRED = "Required"

SETTINGS: dict[str, Any] = {
    "help_option_names": ["-h", "--help"],
    "max_content_width": 100,
}
"""Of every command and group."""


class GroupedOption(click.Option):
    """An option that is shown under a heading of the command's help.

    help_default: makes the text of its default where the help is shown; None for click's own.
    """

    def __init__(
        self,
        *args: Any,
        group: str = "Options",
        help_default: Callable[[], str] | None = None,
        **kwargs: Any,
    ) -> None:
        self.group = group
        self._help_default = help_default
        super().__init__(*args, **kwargs)

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        record = super().get_help_record(ctx)
        if record is None or self._help_default is None:
            return record
        return record[0], f"{record[1]}  [default: {self._help_default()}]"


class GroupedCommand(click.Command):
    """A command whose help lists options under the headings that they name, required ones first.

    Each has -q, -v and --json, see `console`.
    resumes: whether the same command goes on where it was interrupted.
    """

    def __init__(self, *args: Any, resumes: bool = True, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._resumes = resumes
        self.params += console_options()

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            what = "continues where it stopped" if self._resumes else "starts from the beginning"
            raise InterruptedRun(f"the same command {what}") from error

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {REQUIRED: [], "Options": []}
        for parameter in self.get_params(ctx):
            if not isinstance(parameter, click.Option):
                continue
            record = parameter.get_help_record(ctx)
            if record is not None:
                sections.setdefault(_section(parameter), []).append(record)
        last = sections.pop(OUTPUT, [])
        for title, records in [*sections.items(), (OUTPUT, last)]:
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)


def _section(parameter: click.Option) -> str:
    if parameter.required:
        return REQUIRED
    if isinstance(parameter, GroupedOption):
        return parameter.group
    is_output = parameter.name in ("quiet", "verbose", "as_json") or "--help" in parameter.opts
    return OUTPUT if is_output else "Options"


class CommandGroup(click.Group):
    """A group of such commands, which suggests the nearest name for one that is misspelt."""

    command_class = GroupedCommand

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            near = difflib.get_close_matches(args[0], self.list_commands(ctx), n=1, cutoff=0.5)
            if not near:
                raise
            meant = " or ".join(map(repr, near))
            raise click.UsageError(f"{error.message} Did you mean {meant}?", ctx) from error
