"""The application and its server: one process, plain HTTP."""

import asyncio
import contextlib
import hashlib
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sa_engine.annotate.desk import Desk
from sa_engine.annotate.guard import Allowed, Guard
from sa_engine.annotate.image_queue import ImageQueue
from sa_engine.annotate.overview import status_line
from sa_engine.annotate.responses import error_response
from sa_engine.annotate.routes import PageSettings, Routes
from sa_engine.errors import SaEngineError, UsageError

WEB = Path(__file__).with_name("web")
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".jpg": "image/jpeg",
    ".svg": "image/svg+xml",
}
_TICK_S = 1.0
_QUIET_S = 3.0


@dataclass(frozen=True, slots=True)
class Served:
    """A file of the page, read at start: no path ever comes from a client."""

    data: bytes
    media_type: str


def page_files() -> tuple[str, dict[str, Served]]:
    """The digest of all files of the page, and each by its name."""
    files = {
        path.relative_to(WEB).as_posix(): Served(path.read_bytes(), _TYPES[path.suffix])
        for path in sorted(WEB.rglob("*"))
        if path.suffix in _TYPES
    }
    digest = hashlib.sha256()
    for name, served in files.items():
        digest.update(f"{name}\0{len(served.data)}\n".encode() + served.data)
    return digest.hexdigest()[:16], files


def make_app(
    queue: ImageQueue, tokens: Mapping[str, str], page: PageSettings, allowed: Allowed
) -> Guard:
    """The ASGI application."""
    digest, files = page_files()
    index = files["index.html"].data.replace(b"{{static}}", f"/static/{digest}".encode())

    async def home(_request: Request) -> Response:
        headers = {"cache-control": "no-store"}
        return Response(index, media_type=_TYPES[".html"], headers=headers)

    async def static(request: Request) -> Response:
        served = files.get(request.path_params["name"])
        if served is None or request.path_params["digest"] != digest:
            return error_response(404, "no-file", "there is no such file")
        headers = {"cache-control": "public, max-age=31536000, immutable"}
        return Response(served.data, media_type=served.media_type, headers=headers)

    async def icon(_request: Request) -> Response:
        return Response(status_code=204)

    async def unknown(_request: Request, _error: Exception) -> Response:
        return error_response(404, "no-page", "there is nothing of that name")

    routes = [
        Route("/", home),
        Route("/favicon.ico", icon),
        Route("/static/{digest}/{name:path}", static),
        *Routes(queue, Desk(queue), tokens, page).all(),
    ]
    handlers: dict[Any, Any] = {404: unknown, 405: unknown}
    return Guard(Starlette(routes=routes, exception_handlers=handlers), allowed)


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens. UsageError if the address cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise UsageError(
            f"cannot listen on {host}:{port} ({error.strerror}): choose another with --port"
        ) from error
    listener.listen(128)
    return listener


async def serve(
    app: Any,
    listener: socket.socket,
    queue: ImageQueue,
    *,
    follow: Path | None = None,
    say: Callable[[str], None],
) -> bool:
    """Serve until every image is answered, or a signal comes; whether all is answered.

    follow: a model file that is loaded anew whenever it changes. say: shows a status line.
    """
    config = uvicorn.Config(
        app,
        ws="none",
        http="h11",
        loop="asyncio",
        lifespan="off",
        access_log=False,
        server_header=False,
        log_level="error",
        limit_concurrency=200,
        h11_max_incomplete_event_size=16 << 10,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=2,
    )
    server = _Server(config)
    async with _beside(queue, follow):
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        stopped = False

        def stop() -> None:
            nonlocal stopped
            stopped = server.should_exit = True

        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop)
        quiet_s = 0.0
        while not serving.done():
            say(status_line(queue, now=time.time()))
            # Not at once: whoever has just done the last image may want it back.
            is_over = queue.is_complete and not queue.assignments.present()
            quiet_s = quiet_s + _TICK_S if is_over else 0.0
            if quiet_s > _QUIET_S:
                server.should_exit = True
            await asyncio.wait([serving], timeout=_TICK_S)
        await serving
    return not stopped


class _Server(uvicorn.Server):
    """Signals are ours: the journal is closed before the process ends."""

    @contextlib.contextmanager
    def capture_signals(self) -> Any:
        yield


@contextlib.asynccontextmanager
async def _beside(queue: ImageQueue, follow: Path | None) -> AsyncIterator[None]:
    """The model is loaded, and followed, while the first requests are served."""
    room = queue.room
    tasks = []
    if room is not None:

        async def load() -> None:
            with contextlib.suppress(SaEngineError, OSError):
                model = room.current or await room.load()
                await queue.ledger.keep_model(model)
            if follow is not None:
                await room.follow(follow, queue.ledger.keep_model)

        tasks.append(asyncio.create_task(load()))
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        queue.close()
