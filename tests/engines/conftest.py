"""A Slurm of this machine alone: munged, slurmctld and slurmd, on the loopback interface."""

import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cli.conftest import small_model

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
