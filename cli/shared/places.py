"""Types of options that name files, folders, devices and precisions."""

import os
import re
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from sa_engine.dataset.folder.local_copy import local_copy
from sa_engine.dataset.folder.place import is_url
from sa_engine.errors import UsageError


class _Place(click.ParamType[Any]):
    """A local path, or a URL as it was written."""

    name = "path"

    def convert(
        self,
        value: Any,
        param: click.Parameter | None,  # noqa: ARG002 - click's signature
        ctx: click.Context | None,  # noqa: ARG002
    ) -> Path | str:
        return value if isinstance(value, Path) or is_url(value) else Path(value)


class _Weights(click.ParamType[Any]):
    """A file that is read; one in an object store is fetched, once for each version of it."""

    name = "path"

    def convert(
        self,
        value: Any,
        param: click.Parameter | None,  # noqa: ARG002 - click's signature
        ctx: click.Context | None,  # noqa: ARG002
    ) -> Path:
        return value if isinstance(value, Path) else local_copy(value)


class _Local(click.ParamType[Any]):
    """A local path; a URL would otherwise become a folder of that odd name."""

    name = "path"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        if is_url(value):
            self.fail(f"{value} is a URL: only a local path will do here", param, ctx)
        return Path(value)

    def shell_complete(
        self,
        ctx: click.Context,  # noqa: ARG002 - click's signature
        param: click.Parameter,  # noqa: ARG002
        incomplete: str,
    ) -> list[CompletionItem]:
        return [CompletionItem(incomplete, type="file")]


class OutFile(_Local):
    """A local file that is to be written: what is wrong with it is found before any work.

    suffixes: those that its name may have; none given: any.
    """

    def __init__(self, *suffixes: str) -> None:
        self._suffixes = suffixes

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        path = super().convert(value, param, ctx)
        if path.is_dir():
            self.fail(f"{path} is a folder: name a file in it", param, ctx)
        if self._suffixes and path.suffix.lower() not in self._suffixes:
            wanted = " or ".join(self._suffixes)
            self.fail(f"the name of {path} must end in {wanted}", param, ctx)
        folder = path.absolute().parent
        while not folder.exists():
            folder = folder.parent
        if not folder.is_dir():
            self.fail(f"{folder} is a file, so there can be no {path}", param, ctx)
        if not os.access(folder, os.W_OK | os.X_OK):
            self.fail(f"{folder} may not be written to: choose another folder", param, ctx)
        return path


def refuse_existing(path: Path | None, *, force: bool) -> None:
    """UsageError if a file that a command would write is there already."""
    if path is not None and path.exists() and not force:
        raise UsageError(f"{path} is there already: give --force to replace it, or another name")


class _Device(click.ParamType[Any]):
    """The name of a device; whether it is there is asked when a model is loaded."""

    name = "device"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", value):
            self.fail(f"{value!r} is not one of auto, cpu, cuda, cuda:N and mps", param, ctx)
        return str(value)


PLACE = _Place()
WEIGHTS = _Weights()
LOCAL_PATH = _Local()
DEVICE = _Device()
PRECISION = click.Choice(["auto", "fp32", "bf16", "fp16"])
