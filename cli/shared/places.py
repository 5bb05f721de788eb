"""Types of options that name files and folders, here or in an object store."""

from pathlib import Path
from typing import Any

import click

from sa_engine.dataset.folder.local_copy import local_copy
from sa_engine.dataset.folder.object_store import is_url


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


PLACE = _Place()
WEIGHTS = _Weights()
LOCAL_PATH = _Local()
