"""Where the engine keeps local files that belong to places elsewhere."""

import os
from pathlib import Path

from sa_engine.errors import UsageError

CACHE_VARIABLE = "SA_ENGINE_CACHE"
"""Environment variable that names another folder."""


def cache_folder(kind: str) -> Path:
    """A folder of this user for files of a kind; made when asked for.

    `$SA_ENGINE_CACHE/<kind>`, else `$XDG_CACHE_HOME/sa-engine/<kind>`, else
    `~/.cache/sa-engine/<kind>`. UsageError if it cannot be made.
    """
    named = os.environ.get(CACHE_VARIABLE)
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        root = Path(named) if named else Path(base or Path.home() / ".cache") / "sa-engine"
        folder = root.absolute() / kind
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError) as error:
        raise UsageError(
            f"cannot keep local files for work in progress ({error}): set {CACHE_VARIABLE} "
            "to a folder that can be written"
        ) from error
    return folder
