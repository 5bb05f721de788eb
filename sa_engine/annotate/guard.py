"""Which requests are served at all: only those of our own page, by somebody with a link.

Why each check (tried against a browser): a `text/plain` POST by another site's script or form does
arrive at a loopback server; under DNS rebinding a foreign page's requests are same-origin, so that
Origin equals Host, and only a list of allowed hosts stops them.
"""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

SECURITY_HEADERS = (
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
        "connect-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-resource-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
)

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


@dataclass(frozen=True, slots=True)
class Allowed:
    """Hosts with their ports, as browsers write them, and the origins that pages may have."""

    hosts: frozenset[str]
    origins: frozenset[str]

    @classmethod
    def of(cls, host: str, port: int, public_url: str | None = None) -> "Allowed":
        """Those of a server that listens on `host`, and of a proxy before it."""
        names = {*LOOPBACK, f"[{host}]" if ":" in host else host}
        hosts = {f"{name}:{port}" for name in names}
        if port == 80:
            hosts |= names
        origins = {f"http://{each}" for each in hosts}
        if public_url is not None:
            parts = urlsplit(public_url)
            hosts.add(parts.netloc)
            origins.add(f"{parts.scheme}://{parts.netloc}")
        return cls(frozenset(hosts), frozenset(origins))


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is not served."""

    status: int
    code: str
    message: str


def refusal(method: str, headers: Mapping[str, str], allowed: Allowed) -> Refusal | None:
    """Why a request is refused before anybody looks at it; None if it is not.

    headers: names in lower case.
    """
    if headers.get("host", "") not in allowed.hosts:
        return Refusal(421, "wrong-host", "this address is none of the server's: use the link")
    origin = headers.get("origin")
    is_reading = method in ("GET", "HEAD")
    if (origin is not None or not is_reading) and origin not in allowed.origins:
        return Refusal(403, "wrong-origin", "the request comes from another site")
    if headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
        return Refusal(403, "wrong-site", "the request comes from another site")
    if not is_reading:
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            return Refusal(415, "wrong-type", "requests are JSON (application/json)")
    return None


def annotator_of(authorization: str, tokens: Mapping[str, str]) -> str | None:
    """Whose token a request carries. Every token is compared, in constant time."""
    scheme, _, given = authorization.partition(" ")
    found = None
    for annotator, token in tokens.items():
        if hmac.compare_digest(given.strip().encode(), token.encode()):
            found = annotator
    return found if scheme.lower() == "bearer" else None


class Guard:
    """ASGI middleware: refuses what `refusal` says, and adds the security headers."""

    def __init__(self, app: Any, allowed: Allowed) -> None:
        self._app = app
        self._allowed = allowed

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        headers = {
            key.decode("latin-1"): value.decode("latin-1") for key, value in scope["headers"]
        }
        refused = refusal(scope["method"], headers, self._allowed)

        async def send_guarded(message: Any) -> None:
            if message["type"] == "http.response.start":
                own = [(name.encode(), value.encode()) for name, value in SECURITY_HEADERS]
                message = {**message, "headers": [*message["headers"], *own]}
            await send(message)

        if refused is None:
            await self._app(scope, receive, send_guarded)
            return
        # Here alone, so that the table of refusals can be tested without a server.
        from sa_engine.annotate.responses import error_response

        response = error_response(refused.status, refused.code, refused.message)
        await response(scope, receive, send_guarded)
