"""Options that several commands share, and help that shows options by group."""

from collections.abc import Callable
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


class GroupedOption(click.Option):
    """An option that is shown under a heading of the command's help."""

    def __init__(self, *args: Any, group: str = "Options", **kwargs: Any) -> None:
        self.group = group
        super().__init__(*args, **kwargs)


class GroupedCommand(click.Command):
    """A command whose help lists options under the headings that they name."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                group = parameter.group if isinstance(parameter, GroupedOption) else "Options"
                sections.setdefault(group, []).append(record)
        plain = sections.pop("Options", [])
        for title, records in [*sections.items(), ("Options", plain)]:
            with formatter.section(title):
                formatter.write_dl(records)


def option(*names: str, group: str, **settings: Any) -> Callable[[F], F]:
    """A click option shown under `group`."""
    return click.option(*names, cls=GroupedOption, group=group, **settings)


def all_of(*decorators: Callable[[F], F]) -> Callable[[F], F]:
    """Several option decorators as one, shown in the order given."""

    def decorate(function: F) -> F:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


model_options = all_of(
    option(
        "--model",
        "model",
        group="Model",
        metavar="NAME",
        help="A model that comes with the engine (`sa-engine model list`).  [default: vit_t]",
    ),
    option(
        "--checkpoint",
        group="Model",
        type=click.Path(path_type=Path),
        help="A weights file instead: the engine's safetensors or a public SAM .pth.",
    ),
    option(
        "--device",
        group="Model",
        type=click.Choice(["auto", "cpu", "cuda", "mps"]),
        default="auto",
        show_default=True,
        help="Where the model runs; auto takes a GPU when there is one.",
    ),
    option(
        "--precision",
        group="Model",
        type=click.Choice(["auto", "fp32", "bf16", "fp16"]),
        default="auto",
        show_default=True,
        help="Arithmetic of the model; auto takes the fastest that the hardware has.",
    ),
)

out_option = click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    help="The dataset's folder; the same command again continues it.",
)


def options_from(config: type, group: str, only: tuple[str, ...]) -> Callable[[F], F]:
    """One option for each named field of a config dataclass.

    Help and default are the field's own (`metadata["help"]`, the dataclass's default), so that both
    live once. An option that is not given is None, which leaves the choice to the config.
    """
    by_name = {field.name: field for field in fields(config)}
    return all_of(*(_option_from(by_name[name], group) for name in only))


def _option_from(field: Field[Any], group: str) -> Callable[[F], F]:
    default = field.default
    kind = field.metadata.get("type", type(default) if default is not MISSING else str)
    shown = "" if default is None else f"  [default: {default:g}]" if kind in (int, float) else ""
    return option(
        "--" + field.name.replace("_", "-"),
        field.name,
        group=group,
        type=kind,
        default=None,
        help=field.metadata["help"] + shown,
    )
