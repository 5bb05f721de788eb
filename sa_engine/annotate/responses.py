"""What the server says, and how it reads what it is told."""

import asyncio
import json
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from sa_engine.errors import RefusedRequest

NO_STORE = {"cache-control": "no-store"}
SMALL = 64 << 10
"""Bytes of an ordinary request's body."""

_SEND_S = 20.0
_DEPTH = 32


def json_response(content: Any, status: int = 200) -> Response:
    """JSON that no cache keeps (Chromium would answer from its own while offline)."""
    return JSONResponse(content, status, headers=NO_STORE)


def no_content() -> Response:
    """Done, and nothing to say."""
    return Response(status_code=204, headers=NO_STORE)


def error_response(status: int, code: str, message: str, **details: object) -> Response:
    """An error as the page reads it."""
    return json_response({"error": {"code": code, "message": message, **details}}, status)


async def read_object(request: Request, limit: int = SMALL) -> dict[str, Any]:
    """The JSON object in a request's body.

    Raises RefusedRequest: 413 over `limit` bytes, 408 when it is sent too slowly, 400 for anything
    that is not an object, or one that is nested too deeply.
    """
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(_SEND_S):
            async for part in request.stream():
                size += len(part)
                if size > limit:
                    raise RefusedRequest(413, "too-large", f"a request of over {limit} bytes")
                parts.append(part)
    except TimeoutError:
        raise RefusedRequest(408, "too-slow", f"the request took over {_SEND_S:.0f} s") from None
    try:
        content = json.loads(b"".join(parts), parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise RefusedRequest(400, "bad-json", "the request is not JSON") from None
    if not isinstance(content, dict) or not _is_flat(content, _DEPTH):
        raise RefusedRequest(400, "bad-json", f"an object, nested {_DEPTH} deep at most")
    return content


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _is_flat(value: Any, depth: int) -> bool:
    if isinstance(value, dict):
        return depth > 0 and all(_is_flat(each, depth - 1) for each in value.values())
    if isinstance(value, list):
        return depth > 0 and all(_is_flat(each, depth - 1) for each in value)
    return True
