"""What two runs of the same work must have in common: every byte but the seconds they took."""

import json
from pathlib import Path
from typing import Any

TIMED = ("seconds", "checksum")


def content(dataset: Path) -> dict[str, Any]:
    """Every file of a dataset by its name: bytes, or the values of stats without the seconds."""
    found: dict[str, Any] = {}
    for path in sorted(dataset.iterdir()):
        if not path.is_file():
            continue
        if path.name.endswith("_stats.json"):
            values = json.loads(path.read_bytes())
            found[path.name] = {k: v for k, v in values.items() if k not in TIMED}
        else:
            found[path.name] = path.read_bytes()
    return found
