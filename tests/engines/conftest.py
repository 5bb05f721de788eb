"""Slurm and Ray of this machine alone, on the loopback interface."""

import contextlib
import importlib.util
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import ROOT, small_model

__all__ = ["small_model"]

PROGRAMS = ("slurmctld", "slurmd", "sbatch", "scontrol", "munged")

CONFIG = """\
ClusterName=test
SlurmctldHost=localhost(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket,cred_expire=5
CredType=cred/munge
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmctldPort={ctld}
SlurmdPort={slurmd}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=0
ReturnToService=2
InactiveLimit=0
KillWait=10
MinJobAge=600
MaxArraySize=8
SlurmdParameters=config_overrides
JobRequeue=1
NodeName=localhost NodeAddr=127.0.0.1 CPUs=16 RealMemory=64000 State=UNKNOWN
PartitionName=all Nodes=localhost Default=YES MaxTime=INFINITE State=UP
"""


@dataclass(frozen=True, slots=True)
class Slurm:
    """A cluster of one node. environment: with which its commands find it."""

    environment: dict[str, str]

    def run(self, *words: str | Path) -> str:
        """What a command of Slurm prints."""
        done = subprocess.run(
            list(map(str, words)),
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        return done.stdout

    def states(self, job: str) -> dict[str, str]:
        """The state of each job of an array, by its number."""
        said = self.run("scontrol", "show", "job", job)
        found = re.findall(r"ArrayTaskId=(\S+).*?JobState=(\w+)", said, flags=re.DOTALL)
        return dict(found)

    def steps(self, job: str) -> str:
        """What Slurm says of the steps of a job; nothing before there are some."""
        return _said(self, "scontrol", "show", "step", job)

    def wait(self, what: str, until: Callable[[], bool], seconds: float = 240) -> None:
        """Until something is so; fails the test with `what` if it takes too long."""
        limit = time.monotonic() + seconds
        while not until():
            assert time.monotonic() < limit, f"no {what} after {seconds:.0f} s"
            time.sleep(0.2)


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    missing = [name for name in PROGRAMS if shutil.which(name, path=_path()) is None]
    why = f"there is no {missing[0]} (slurm-wlm, munge)" if missing else ""
    if os.geteuid() != 0:
        why = "a node of Slurm is started by root alone"
    if why:
        if os.environ.get("CI"):
            pytest.fail(why)
        pytest.skip(why)
    folder = tmp_path_factory.mktemp("slurm")
    for name in ("state", "spool", "munge"):
        (folder / name).mkdir(mode=0o755)
    key = folder / "munge" / "key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o600)
    config = folder / "slurm.conf"
    ctld, slurmd = _free_ports(2)
    config.write_text(CONFIG.format(folder=folder, ctld=ctld, slurmd=slurmd))
    environment = {**os.environ, "PATH": _path(), "SLURM_CONF": str(config)}
    munge = ["munged", "--foreground", "--force", f"--key-file={key}"]
    munge += [f"--{name}={folder}/munge/{name.split('-')[0]}" for name in ("socket", "pid-file")]
    munge += [f"--log-file={folder}/munge/log", f"--seed-file={folder}/munge/seed"]
    running = [subprocess.Popen(munge, env=environment)]
    try:
        here = Slurm(environment)
        here.wait("munged", (folder / "munge" / "socket").exists, 20)
        running.append(subprocess.Popen(["slurmctld", "-D", "-f", config], env=environment))
        running.append(
            subprocess.Popen(["slurmd", "-D", "-f", config, "-N", "localhost"], env=environment)
        )
        here.wait("idle node", lambda: "idle" in _said(here, "sinfo", "-h", "-o", "%T"), 60)
        yield here
        _said(here, "scancel", "--full", "--user", "root")
    finally:
        for process in reversed(running):
            process.terminate()
        for process in running:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def _path() -> str:
    """Where daemons lie, too."""
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def _said(slurm: Slurm, *words: str) -> str:
    try:
        return slurm.run(*words)
    except subprocess.CalledProcessError:
        return ""


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@dataclass(frozen=True, slots=True)
class RayCluster:
    """Two raylets of this machine.

    inside: what a command begins with to run in their network.
    address: of the first; second: the other one's processes.
    """

    inside: tuple[str, ...]
    address: str
    environment: dict[str, str]
    second: "subprocess.Popen[bytes]"

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

    def lose_second(self) -> None:
        """All processes of the second raylet are killed, as by a machine that is lost."""
        os.killpg(self.second.pid, signal.SIGKILL)
        self.second.wait(20)


LOOPBACK_UP = """\
import fcntl, socket, struct, time
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
    fcntl.ioctl(any_socket, 0x8914, struct.pack("16sH14x", b"lo", 0x1 | 0x40))
print("up", flush=True)
time.sleep(3600)
"""
"""SIOCSIFFLAGS with IFF_UP and IFF_RUNNING, and then the network is kept."""


@pytest.fixture
def ray_cluster() -> Iterator[RayCluster]:
    why = "" if importlib.util.find_spec("ray") else "Ray is not installed (extra `ray`)"
    if os.geteuid() != 0 or shutil.which("unshare") is None or shutil.which("nsenter") is None:
        # On any other network Ray goes by the address of the machine instead of the loopback's.
        why = "a network of the loopback alone is made by root, with unshare and nsenter"
    if why:
        if os.environ.get("CI"):
            pytest.fail(why)
        pytest.skip(why)
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
        "PYTHONPATH": str(ROOT),
    }
    running = []

    def start(words: list[str], **more: Any) -> "subprocess.Popen[bytes]":
        process = subprocess.Popen(
            words,
            env=environment,
            start_new_session=True,
            stderr=subprocess.DEVNULL,
            **{"stdout": subprocess.DEVNULL, **more},
        )
        running.append(process)
        return process

    try:
        network = start(
            ["unshare", "--net", sys.executable, "-c", LOOPBACK_UP], stdout=subprocess.PIPE
        )
        assert network.stdout is not None
        with network.stdout as said:
            assert said.readline() == b"up\n"
        inside = ("nsenter", f"--target={network.pid}", "--net", "--")
        ray = [*inside, sys.executable, "-m", "ray.scripts.scripts"]
        shared = [*ray, "start", "--block", "--num-cpus=1", "--num-gpus=0", "--disable-usage-stats"]
        shared += ["--object-store-memory=100000000", "--node-ip-address=127.0.0.1"]
        address = "127.0.0.1:6379"
        start(
            [*shared, "--head", "--port=6379", "--include-dashboard=false", f"--temp-dir={folder}"]
        )
        limit = time.monotonic() + 120
        while subprocess.run(
            [*ray, "health-check", f"--address={address}"],
            env=environment,
            capture_output=True,
            check=False,
        ).returncode:
            assert time.monotonic() < limit, "Ray has not started"
        yield RayCluster(inside, address, environment, start([*shared, f"--address={address}"]))
    finally:
        for process in reversed(running):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(20)
        shutil.rmtree(folder, ignore_errors=True)
