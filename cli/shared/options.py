"""Options that several commands share, and help that shows options by group."""

import inspect
import os
from collections.abc import Callable, Iterable
from dataclasses import Field, fields
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar, get_args

import click

from sa_engine.cli.shared.command import CommandGroup, GroupedCommand, GroupedOption
from sa_engine.cli.shared.console import console
from sa_engine.cli.shared.places import DEVICE, PLACE, PRECISION, WEIGHTS
from sa_engine.dataset.folder.place import is_url
from sa_engine.dataset.sources.walk import other_files
from sa_engine.errors import UsageError
from sa_engine.model.bundled import DEFAULT_MODEL, bundled_card

__all__ = ["CommandGroup", "GroupedCommand", "GroupedOption"]

ALIASES = {"min_mask_area": ("--min-area",), "points_per_side": ("--grid",)}
"""One name for one thing: what other commands call a field of a configuration."""

OF_THE_MODEL = frozenset({"pred_iou_thresh", "stability_score_thresh", "mask_nms_thresh"})
"""Fields whose default is what the model's card recommends."""

F = TypeVar("F", bound=Callable[..., Any])


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
        help="A model that comes with the engine (`sa-engine model list`).  "
        f"[default: {DEFAULT_MODEL}]",
    ),
    option(
        "--checkpoint",
        group="Model",
        type=WEIGHTS,
        help="A weights file instead: the engine's safetensors or a public SAM .pth.",
    ),
    option(
        "--device",
        group="Model",
        type=DEVICE,
        default="auto",
        show_default=True,
        help="Where the model runs: auto, cpu, cuda, cuda:N or mps; auto takes a GPU when there is "
        "one.",
    ),
    option(
        "--precision",
        group="Model",
        type=PRECISION,
        default="auto",
        show_default=True,
        help="Arithmetic of the model; auto takes the fastest that the hardware has.",
    ),
)

images_option = all_of(
    click.argument("photos", nargs=-1, metavar="[PHOTOS]..."),
    click.option(
        "--images",
        help="The same as PHOTOS: a folder (searched through), a file, a glob, a text list of "
        "paths, or a tar of images; or the URL of any of these (s3://, gs://).",
    ),
)


def take_images(options: dict[str, Any]) -> str | tuple[str, ...]:
    """Move what `images_option` gave out of a command's options, and say what is passed over.

    Raises UsageError unless images are given in one of the two ways.
    """
    photos, images = options.pop("photos"), options.pop("images")
    if bool(photos) == bool(images):
        raise UsageError("give the images once: a folder, files, a pattern, a list or a tar")
    for path in photos or (images,):
        if not is_url(path) and Path(path).is_dir():
            others = other_files(os.fsencode(path))
            if others:
                said = ", ".join(f"{count} {suffix}" for suffix, count in others.most_common(5))
                console().note(f"passed over in {path}, as no images: {said}")
    return photos or str(images)


out_option = click.option(
    "--out",
    required=True,
    type=PLACE,
    help="The dataset's folder or URL; the same command again continues it.",
)

keeping_options = all_of(
    option(
        "--images-per-shard",
        group="Storing",
        type=click.IntRange(min=1),
        default=1000,
        show_default=True,
        help="Images of each shard.",
    ),
    option(
        "--no-images",
        "keep_images",
        group="Storing",
        is_flag=True,
        flag_value=False,
        default=True,
        help="Store annotations alone.",
    ),
    option(
        "--max-pixels",
        group="Storing",
        type=click.IntRange(min=1),
        default=200_000_000,
        show_default=True,
        help="Images of more pixels are recorded as failed.",
    ),
)

storing_options = all_of(
    keeping_options,
    option(
        "--shortest-side",
        group="Storing",
        type=click.IntRange(min=1),
        help="Downsize images whose shortest side is longer, pixels; SA-1B has 1500.",
    ),
)

working_options = all_of(
    option(
        "--workers",
        group="Run",
        type=click.IntRange(min=1),
        default=1,
        show_default=True,
        help="Processes on this machine; with several GPUs each takes the next one.",
    ),
    option(
        "--max-failures",
        group="Run",
        type=click.IntRange(min=0),
        help="Stop as soon as more images than this have failed.",
    ),
    option(
        "--image-timeout",
        "image_seconds",
        group="Run",
        type=click.FloatRange(min=0),
        default=3600,
        show_default=True,
        metavar="SECONDS",
        help="Record an image as failed that takes a worker longer than this, twice; 0 for no "
        "limit.",
    ),
    option(
        "--failed-images-ok",
        group="Run",
        type=click.FloatRange(0, 1),
        metavar="SHARE",
        help="End with 0 instead of 3 where no more than this share of the images has failed, as "
        "0.01: schedulers take any other status for a failed job.",
    ),
    option(
        "--retry-failed",
        group="Run",
        is_flag=True,
        help="Try the images again that failed in earlier runs; all others stay as they are.",
    ),
    option(
        "--repair",
        group="Run",
        is_flag=True,
        help="First check the bytes of complete shards, and make damaged ones again.",
    ),
)

executor_options = all_of(
    option(
        "--executor",
        group="Cluster",
        type=click.Choice(["local", "ray"]),
        default="local",
        show_default=True,
        help="Who keeps the workers: this machine, or a Ray cluster (extra `ray`); for Slurm and "
        "Kubernetes there is `sa-engine submit`.",
    ),
    option(
        "--ray-address",
        group="Cluster",
        default="auto",
        show_default=True,
        metavar="ADDRESS",
        help="Of the Ray cluster; auto is the one that this machine belongs to, local one of this "
        "machine alone.",
    ),
    option(
        "--gpus-per-worker",
        group="Cluster",
        type=click.FloatRange(min=0),
        default=0,
        show_default=True,
        help="Of each Ray task; 0 for the processor alone, 0.5 for two tasks on one GPU.",
    ),
    option(
        "--cpus-per-worker",
        group="Cluster",
        type=click.FloatRange(min=0),
        default=1,
        show_default=True,
        help="Of each Ray task.",
    ),
)

prepare_option = option(
    "--prepare",
    group="Run",
    is_flag=True,
    help="Freeze the list of images and the options, and make nothing yet: `sa-engine work`, on "
    "any machine that sees --out, does the rest.",
)

run_options = all_of(
    option(
        "--limit",
        group="Run",
        type=click.IntRange(min=1),
        help="Only the first so many images of the sorted list.",
    ),
    option(
        "--shard-index",
        group="Run",
        type=click.IntRange(min=0),
        help="With --num-shards: the number of this job, from 0.  [default: the job array's]",
    ),
    option(
        "--num-shards",
        group="Run",
        type=click.IntRange(min=1),
        help="Divide the shards into so many parts and do one of them. Without it, all jobs that "
        "share this output help with all shards.",
    ),
    working_options,
)


def options_from(config: type, group: str) -> Callable[[F], F]:
    """One option for each field of a config dataclass that can be given on a command line.

    Help is the field's paragraph in the class's docstring, the default is the dataclass's own: both
    live once. An option that is not given is None: the choice stays with the config.
    """
    texts = field_texts(config)
    decorators = [
        _option_from(field, texts[field.name], group)
        for field in fields(config)
        if _kind(field) is not None
    ]
    return all_of(*decorators)


def option_names(config: type) -> list[str]:
    """The fields for which `options_from` makes an option."""
    return [field.name for field in fields(config) if _kind(field) is not None]


def field_texts(config: type) -> dict[str, str]:
    """What a config's docstring says of each field ("name: text", further lines indented)."""
    texts: dict[str, str] = {}
    names = {field.name for field in fields(config)}
    current = None
    for line in inspect.getdoc(config).__str__().splitlines():
        name, colon, text = line.partition(": ")
        if colon and name in names:
            current = name
            texts[name] = text
        elif current and line.startswith("    "):
            texts[current] += " " + line.strip()
        else:
            current = None
    return texts


def _option_from(field: Field[Any], text: str, group: str) -> Callable[[F], F]:
    default = field.default
    shown = ""
    if isinstance(default, int | float | Enum):
        value = default.value if isinstance(default, Enum) else f"{default:.4g}"
        shown = f"  [default: {value}]"
    return option(
        "--" + field.name.replace("_", "-"),
        *ALIASES.get(field.name, ()),
        field.name,
        group=group,
        type=_kind(field),
        default=None,
        help=text[:1].upper() + text[1:] + shown,
        help_default=_of_the_model(field.name)
        if field.default is None and field.name in OF_THE_MODEL
        else None,
    )


def _of_the_model(name: str) -> Callable[[], str]:
    """The text of a default that is the model's own."""

    def text() -> str:
        card = bundled_card()
        known = "" if card is None else f": {getattr(card, name):g} for {card.name}"
        return f"the model's own{known}"

    return text


def _kind(field: Field[Any]) -> Any:
    """The click type of a field's values; None if a command line cannot give them."""
    kinds = get_args(field.type) or (field.type,)
    (kind, *others) = [each for each in kinds if each is not type(None)]
    if others or (kind not in (int, float) and not _is_enum(kind)):
        return None
    return click.Choice([each.value for each in kind]) if _is_enum(kind) else kind


def _is_enum(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Enum)


def take(options: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Move the named values out of a command's options."""
    return {name: options.pop(name) for name in names}
