"""Small JSON files that vouch for themselves: canonical text with a checksum of the rest inside.

The file is exactly what `seal` writes, so any flipped bit shows: in a value through the checksum,
in the spelling because the text is no longer canonical.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from sa_engine.errors import DamagedError


def seal(content: Mapping[str, Any]) -> bytes:
    """Canonical JSON of `content` plus "checksum". ValueError if a number is not finite."""
    if "checksum" in content:
        raise ValueError('"checksum" is the seal\'s own key')
    return _spell({**content, "checksum": _checksum(content)})


def unseal(data: bytes, *, name: str) -> dict[str, Any]:
    """The content of a sealed file without its checksum. DamagedError if a byte was changed."""
    try:
        content = json.loads(data)
        checksum = content.pop("checksum")
        intact = checksum == _checksum(content) and data == seal(content)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        intact = False
    if not intact:
        raise DamagedError(f"{name} is damaged: its checksum does not match its content")
    return dict(content)


def canonical(value: Any) -> str:
    """JSON on one line, keys sorted, ASCII only. ValueError if a number is not finite."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _checksum(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(canonical(content).encode("ascii")).hexdigest()


def _spell(content: Mapping[str, Any]) -> bytes:
    text = json.dumps(content, sort_keys=True, indent=1, allow_nan=False)
    return text.encode("ascii") + b"\n"
