"""`sa-engine annotate` as a process of its own, and a client of it that is no browser."""

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from sa_engine.masks.rle import encode

START_S = 60.0


def write_photos(folder: Path, count: int, size_hw: tuple[int, int] = (96, 128)) -> Path:
    """Images with a bright disc each, on noise."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[: size_hw[0], : size_hw[1]]
    for number in range(count):
        rgb = rng.integers(20, 80, (*size_hw, 3), dtype=np.uint8)
        disc = (rows - size_hw[0] / 2) ** 2 + (columns - size_hw[1] / 3) ** 2 < (
            size_hw[0] / 4
        ) ** 2
        rgb[disc] = (230, 200 - number % 100, 60)
        Image.fromarray(rgb).save(folder / f"photo_{number:03d}.png")
    return folder


@dataclass(slots=True)
class Served:
    """A server and its links. process: the server itself; work: its WORK, for whoever needs it."""

    process: subprocess.Popen[str]
    port: int
    tokens: dict[str, str]
    lines: list[str] = field(default_factory=list)
    work: Path = Path()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def link(self, annotator: str = "anna") -> str:
        return f"{self.url}/#token={self.tokens[annotator]}"

    def kill(self) -> None:
        """SIGKILL: nothing is closed, nobody is told."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=30)


@contextmanager
def serving(arguments: Sequence[str | Path], *, port: int = 0) -> Iterator[Served]:
    """Serve until the block ends."""
    served = start_server(arguments, port=port)
    try:
        yield served
    finally:
        if served.process.poll() is None:
            served.kill()
        if served.process.stdout is not None:
            served.process.stdout.close()


def start_server(arguments: Sequence[str | Path], *, port: int = 0) -> Served:
    """Start `sa-engine annotate`; returns once it has printed its links."""
    command = [sys.executable, "-m", "sa_engine", "annotate", *map(str, arguments)]
    process = subprocess.Popen(
        [*command, "--port", str(port), "--no-open"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    served = Served(process, 0, {})
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        line = process.stdout.readline()
        if not line:
            process.stdout.close()
            process.wait()
            raise AssertionError(f"the server ended: {''.join(served.lines)}")
        served.lines.append(line)
        name, _, link = line.strip().partition(": http://127.0.0.1:")
        if link:
            address, _, token = link.partition("/#token=")
            served.port = int(address)
            served.tokens[name] = token
            wanted = [
                str(a) for a, b in zip(arguments[1:], arguments, strict=False) if b == "--annotator"
            ]
            if len(served.tokens) >= max(1, len(wanted)):
                return served
    raise AssertionError("the server printed no link")


@dataclass(frozen=True, slots=True)
class Reply:
    """A response: its status, JSON content (None for other kinds) and bytes."""

    status: int
    content: Any
    data: bytes
    headers: dict[str, str]


@dataclass(slots=True)
class Client:
    """An annotator without a browser."""

    served: Served
    annotator: str = "anna"
    tab: str = field(default_factory=lambda: str(uuid.uuid4()))

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        lease: str | None = None,
        headers: dict[str, str | None] | None = None,
    ) -> Reply:
        """Ask; a header of None is left out."""
        connection = http.client.HTTPConnection("127.0.0.1", self.served.port, timeout=30)
        sent: dict[str, str | None] = {
            "Authorization": f"Bearer {self.served.tokens[self.annotator]}",
            "Origin": self.served.url if method != "GET" else None,
            "Content-Type": "application/json" if method != "GET" else None,
            "X-Lease": lease,
            **(headers or {}),
        }
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        if data is None and method != "GET":
            data = b"{}"
        given = {key: value for key, value in sent.items() if value is not None}
        with contextlib.closing(connection):  # also where the server dies meanwhile
            connection.request(method, path, data, given)
            response = connection.getresponse()
            raw = response.read()
        kind = response.headers.get("content-type", "")
        content = json.loads(raw) if kind.startswith("application/json") and raw else None
        return Reply(
            response.status, content, raw, {k.lower(): v for k, v in response.headers.items()}
        )

    def next(self, after: int | None = None) -> Any:
        """The next image, or None."""
        return self.request("POST", "/api/next", {"tab": self.tab, "after": after}).content

    def put_mask(
        self, given: Any, mask: Any, *, mask_id: str | None = None, revision: int = 1, **more: Any
    ) -> Reply:
        """Finish a mask, (H, W) bool, on an image that was given."""
        image, lease = given["image"]["id"], given["lease"]
        body = mask_body(mask, revision=revision, **more)
        path = f"/api/images/{image}/masks/{mask_id or uuid.uuid4()}"
        return self.request("PUT", path, body, lease=lease)

    def put_state(self, given: Any, state: str, **more: Any) -> Reply:
        """Say that an image is done, skipped or reopened."""
        path = f"/api/images/{given['image']['id']}/state"
        body = {"id": str(uuid.uuid4()), "state": state, **more}
        return self.request("PUT", path, body, lease=given["lease"])


def mask_body(mask: Any, *, revision: int = 1, **more: Any) -> dict[str, Any]:
    """The request that finishes a mask."""
    return {
        "id": str(uuid.uuid4()),
        "revision": revision,
        "how": "drawn",
        "rle": encode(mask).to_coco(),
        "clock": [{"id": str(uuid.uuid4()), "search": 0.25, "work": 0.5, "waited": 0, "idle": 0}],
        **more,
    }


def disc(size_hw: tuple[int, int], x: float, y: float, radius: float) -> Any:
    """A disc, (H, W) bool."""
    rows, columns = np.mgrid[: size_hw[0], : size_hw[1]]
    return (columns - x) ** 2 + (rows - y) ** 2 < radius**2
