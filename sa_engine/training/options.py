"""The options of a run as JSON values, and digests of what a continued run must share."""

import dataclasses
import hashlib
import json
import math
from pathlib import Path
from typing import Any


def flat_options(config: Any) -> dict[str, Any]:
    """Every option of a dataclass of dataclasses by its dotted name; infinity is None."""
    flat: dict[str, Any] = {}
    for f in dataclasses.fields(config):
        value = getattr(config, f.name)
        if dataclasses.is_dataclass(value):
            flat.update({f"{f.name}.{k}": v for k, v in flat_options(value).items()})
        elif isinstance(value, float) and math.isinf(value):
            flat[f.name] = None
        else:
            flat[f.name] = list(value) if isinstance(value, tuple) else value
    return flat


def digest_of(content: Any) -> str:
    """Hex SHA-256 of JSON values, whatever the order of their keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def digest_of_file(path: Path) -> str:
    """Hex SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
