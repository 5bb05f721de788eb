"""A real Ray of this machine alone: raylets in a network that is the loopback interface."""

import contextlib
import importlib.util
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ADDRESS = "127.0.0.1:6379"

LOOPBACK_UP = """\
import fcntl, socket, struct, time
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
    fcntl.ioctl(any_socket, 0x8914, struct.pack("16sH14x", b"lo", 0x1 | 0x40))
print("up", flush=True)
time.sleep(1000000)
"""
"""SIOCSIFFLAGS with IFF_UP and IFF_RUNNING, and then the network is kept."""


@dataclass(slots=True)
class RayCluster:
    """Raylets of this machine, one CPU each.

    inside: what a command begins with to run in their network.
    running: all that was started. address: of the first, which stays. second: the other one; None
        while it is lost.
    """

    inside: tuple[str, ...]
    environment: dict[str, str]
    running: list["subprocess.Popen[bytes]"] = field(default_factory=list)
    address: str = ADDRESS
    second: "subprocess.Popen[bytes] | None" = None

    def workers(self) -> list[int]:
        """The processes that have a task in hand."""
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = path.read_bytes()
            except OSError:
                continue
            if words.startswith(b"ray::sa-engine-work"):
                found.append(int(path.parent.name))
        return sorted(found)

    def start(self, *words: str) -> "subprocess.Popen[bytes]":
        """One more raylet."""
        ray = [*self.inside, sys.executable, "-m", "ray.scripts.scripts"]
        ray += ["start", "--block", "--num-cpus=1", "--num-gpus=0", "--disable-usage-stats"]
        ray += ["--object-store-memory=100000000", "--node-ip-address=127.0.0.1", *words]
        process = subprocess.Popen(
            ray,
            env=self.environment,
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.running.append(process)
        return process

    def start_second(self) -> None:
        """A raylet that may be lost."""
        self.second = self.start(f"--address={self.address}")

    def lose_second(self) -> None:
        """All processes of the second raylet are killed, as by a machine that is lost."""
        assert self.second is not None
        os.killpg(self.second.pid, signal.SIGKILL)
        self.second.wait(20)
        self.second = None

    def is_up(self) -> bool:
        """Whether the first one answers."""
        words = [*self.inside, sys.executable, "-m", "ray.scripts.scripts", "health-check"]
        done = subprocess.run(
            [*words, f"--address={self.address}"],
            env=self.environment,
            capture_output=True,
            check=False,
        )
        return done.returncode == 0


def why_no_ray() -> str:
    """Why none can be started here; nothing where one can."""
    if importlib.util.find_spec("ray") is None:
        return "Ray is not installed (extra `ray`)"
    if os.geteuid() != 0 or shutil.which("unshare") is None or shutil.which("nsenter") is None:
        # On any other network Ray goes by the address of the machine instead of the loopback's.
        return "a network of the loopback alone is made by root, with unshare and nsenter"
    return ""


@contextlib.contextmanager
def running_ray(**variables: str) -> Iterator[RayCluster]:
    """Two raylets, with token authentication. variables: more of their environment."""
    # A short name: paths of sockets have at most 107 characters.
    folder = tempfile.mkdtemp(prefix="ray")
    environment = {
        **os.environ,
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_health_check_period_ms": "1000",
        "RAY_health_check_failure_threshold": "3",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1",  # two raylets on the loopback interface
        "OMP_NUM_THREADS": "1",
        **variables,
    }
    running: list[subprocess.Popen[Any]] = []
    try:
        network = subprocess.Popen(
            ["unshare", "--net", sys.executable, "-c", LOOPBACK_UP],
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        running.append(network)
        assert network.stdout is not None
        with network.stdout as said:
            assert said.readline() == b"up\n"
        inside = ("nsenter", f"--target={network.pid}", "--net", "--")
        cluster = RayCluster(inside, environment, running)
        cluster.start("--head", "--port=6379", "--include-dashboard=false", f"--temp-dir={folder}")
        limit = time.monotonic() + 120
        while not cluster.is_up():
            assert time.monotonic() < limit, "Ray has not started"
        cluster.start_second()
        yield cluster
    finally:
        for process in reversed(running):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(20)
        shutil.rmtree(folder, ignore_errors=True)
