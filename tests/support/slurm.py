"""A real Slurm of this machine alone, on the loopback interface."""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

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
SlurmctldPort={port}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
SlurmdTimeout=10
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
ReturnToService=2
InactiveLimit=0
KillWait=10
MinJobAge=600
MaxArraySize=8
SlurmdParameters=config_overrides
JobRequeue=1
{nodes}
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1 GraceTime=60
PartitionName=urgent Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF
"""

NODE = (
    "NodeName={name} NodeHostname={name} NodeAddr=127.0.0.1 Port={port} CPUs={cpus} "
    "RealMemory=64000 State=UNKNOWN"
)

OWN_MACHINE = """\
set -e
hostname "$1"
cat /proc/sys/kernel/random/uuid > "$2/boot.$1"
mount --bind "$2/boot.$1" /proc/sys/kernel/random/boot_id
{ cat /etc/hosts; echo "127.0.0.1 $1"; } > "$2/hosts.$1"
mount --bind "$2/hosts.$1" /etc/hosts
shift 2
exec "$@"
"""
"""A name and a boot id of its own, as another machine has them."""


@dataclass(frozen=True, slots=True)
class Slurm:
    """A running cluster.

    environment: with which its commands find it.
    nodes: the daemon of each node, by its name.
    """

    environment: dict[str, str]
    nodes: dict[str, "subprocess.Popen[bytes]"]

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

    def ask(self, *words: str) -> str:
        """What a command of Slurm prints; nothing where it fails."""
        try:
            return self.run(*words)
        except subprocess.CalledProcessError:
            return ""

    def states(self, job: str) -> dict[str, str]:
        """The state of each job of an array, by its number; of a single job, by ""."""
        said = self.run("scontrol", "show", "job", job)
        found: dict[str, str] = {}
        for record in said.split("\n\n"):
            number = re.search(r"ArrayTaskId=(\S+)", record)
            state = re.search(r"JobState=(\w+)", record)
            if state is not None:
                found["" if number is None else number[1]] = state[1]
        return found

    def steps(self, job: str) -> str:
        """What Slurm says of the steps of a job; nothing before there are some."""
        return self.ask("scontrol", "show", "step", job)

    def wait(self, what: str, until: Callable[[], bool], seconds: float = 240) -> None:
        """Until something is so; AssertionError with `what` if it takes too long."""
        limit = time.monotonic() + seconds
        while not until():
            assert time.monotonic() < limit, f"no {what} after {seconds:.0f} s"
            time.sleep(0.2)

    def lose(self, node: str) -> None:
        """Every process of a node that has a machine of its own is killed at once."""
        lost = Path(f"/proc/{self.nodes[node].pid}/ns/uts").stat().st_ino
        own = Path("/proc/self/ns/uts").stat().st_ino
        assert lost != own, "the node has no machine of its own"
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if (entry / "ns" / "uts").stat().st_ino == lost:
                    os.kill(int(entry.name), signal.SIGKILL)
        self.nodes[node].wait(20)


def why_no_slurm() -> str:
    """Why none can be started here; nothing where one can."""
    missing = [name for name in PROGRAMS if shutil.which(name, path=_path()) is None]
    if missing:
        return f"there is no {missing[0]} (slurm-wlm, munge)"
    return "" if os.geteuid() == 0 else "a node of Slurm is started by root alone"


@contextlib.contextmanager
def running_slurm(folder: Path, machines: Sequence[str] = (), cpus: int = 16) -> Iterator[Slurm]:
    """A cluster whose files are in `folder`.

    machines: names of nodes that have a machine of their own, as far as a boot id and a host name
        make one; none for one node that is this machine. cpus: of each.
    """
    for name in ("state", "munge"):
        (folder / name).mkdir(mode=0o755)
    key = folder / "munge" / "key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o600)
    config = folder / "slurm.conf"
    names = list(machines) or ["localhost"]
    port, *ports = _free_ports(1 + len(names))
    nodes = [
        NODE.format(name=name, port=own, cpus=cpus) for name, own in zip(names, ports, strict=True)
    ]
    config.write_text(CONFIG.format(folder=folder, port=port, nodes="\n".join(nodes)))
    environment = {**os.environ, "PATH": _path(), "SLURM_CONF": str(config)}
    munge = ["munged", "--foreground", "--force", f"--key-file={key}"]
    munge += [f"--{name}={folder}/munge/{name.split('-')[0]}" for name in ("socket", "pid-file")]
    munge += [f"--log-file={folder}/munge/log", f"--seed-file={folder}/munge/seed"]
    log = (folder / "output.log").open("ab")

    def start(words: Sequence[str | Path]) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(words, env=environment, stdout=log, stderr=log)

    running = [start(munge)]
    cluster = Slurm(environment, {})
    try:
        cluster.wait("munged", (folder / "munge" / "socket").exists, 20)
        running.append(start(["slurmctld", "-D", "-f", config]))
        for name in names:
            (folder / "spool" / name).mkdir(parents=True)
            words = ["slurmd", "-D", "-f", str(config), "-N", name]
            if machines:
                apart = ["unshare", "--mount", "--uts", "bash", "-c", OWN_MACHINE, "machine"]
                words = [*apart, name, str(folder), *words]
            cluster.nodes[name] = start(words)
        running += cluster.nodes.values()
        cluster.wait(
            "idle nodes",
            lambda: (
                cluster.ask("sinfo", "-h", "-N", "-p", "all", "-o", "%T").split()
                == ["idle"] * len(names)
            ),
            60,
        )
        yield cluster
        cluster.ask("scancel", "--full", "--user", "root")
    finally:
        for process in reversed(running):
            process.terminate()
        for process in running:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
        log.close()


def _path() -> str:
    """Where daemons lie, too."""
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
