"""Workers as a Slurm job array: the script, and handing it over.

By the manual pages of sbatch, srun and scontrol, as Slurm 22.05 has them.
"""

import re
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sa_engine.errors import SaEngineError, UsageError
from sa_engine.pipelines.executors.job import ClusterJob

MOST_TRIES = 50
"""Times that one job of an array is put back in the queue."""

NOTICE_S = 120
"""Seconds before a job's time is over at which it is told; Slurm is exact to a minute only."""

REFUSED = ("array", "output", "error", "wrap", "parsable", "wait", "test-only")
"""Options of sbatch that `submit` says itself."""

_TEMPLATE = """\
#!/usr/bin/env bash
# Workers of {out}, written by `sa-engine submit slurm`. Hand it over as often as you like:
#
#     sbatch --array=0-{last} {path}
#
# Each job takes whatever shard is free, and takes up what a lost one has left. One that is
# preempted or runs out of time is put back in the queue and goes on where it stopped.
{directives}
set -u
{setup}
# Since 22.05 srun does not take this from sbatch any more.
export SRUN_CPUS_PER_TASK=${{SLURM_CPUS_PER_TASK:-1}}
job=${{SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}}${{SLURM_ARRAY_TASK_ID:+_$SLURM_ARRAY_TASK_ID}}
echo "$(date '+%F %T') job $job on $(hostname), try $((${{SLURM_RESTART_COUNT:-0}} + 1))"

srun {command}
status=$?

# 130 and 143: stopped by a signal, to be continued.
if [ "$status" -eq 130 ] || [ "$status" -eq 143 ]; then
    if [ "${{SLURM_RESTART_COUNT:-0}}" -lt {tries} ]; then
        echo "$(date '+%F %T') job $job was stopped, and goes on later"
        scontrol requeue "$job" && exit 0
    fi
fi
exit "$status"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class SlurmOptions:
    """What is Slurm's own.

    time: limit of a job, as "4:00:00".
    partition: None for the cluster's own choice.
    directives: further options of sbatch as "name=value", or "name" alone.
    setup: shell lines that make the engine available ("source /venvs/sa/bin/activate").
    folder: where script and logs go.
    """

    folder: Path
    time: str = "12:00:00"
    partition: str | None = None
    directives: tuple[str, ...] = ()
    setup: tuple[str, ...] = ()


def slurm_script(job: ClusterJob, options: SlurmOptions) -> str:
    """The job's script.

    Raises UsageError for a directive that is none, or that the script says itself, and for a path
    that no line of a script can hold.
    """
    if "\n" in f"{job.out}{options.folder}":
        raise UsageError(f"{job.out!r} has a line break in its name: give the dataset another one")
    lines = [f"job-name={job.name}", f"cpus-per-task={job.cpus}", f"mem={job.memory}"]
    lines.append(f"time={options.time}")
    if job.gpus:
        lines.append(f"gres=gpu:{job.gpus}")
    if options.partition:
        lines.append(f"partition={options.partition}")
    lines += ["requeue", "open-mode=append", f"signal=TERM@{NOTICE_S}"]
    lines.append(f"output={shlex.quote(f'{_escaped(options.folder)}/%x-%A_%a.log')}")
    for each in options.directives:
        if not re.fullmatch(r"[a-z][a-z-]*(=[^\n]*)?", each):
            raise UsageError(f"--sbatch {each!r} is no NAME=VALUE, as account=vision")
        name = each.partition("=")[0]
        if name in REFUSED:
            raise UsageError(f"--sbatch {name} is said by `submit` itself: leave it out")
        lines = [line for line in lines if line.partition("=")[0] != name]
        lines.append(each)
    return _TEMPLATE.format(
        out=shlex.quote(job.out),
        last=job.workers - 1,
        path=shlex.quote(str(script_path(job, options))),
        directives="\n".join(f"#SBATCH --{line}" for line in lines),
        setup="\n".join(options.setup),
        command=shlex.join(job.words),
        tries=MOST_TRIES,
    )


def script_path(job: ClusterJob, options: SlurmOptions) -> Path:
    """Where the script goes."""
    return options.folder / f"{job.name}.sh"


def submit_slurm(job: ClusterJob, options: SlurmOptions) -> tuple[str, ...]:
    """Write the script and hand it to sbatch. Returns the ids of the job arrays.

    There are several where the cluster's MaxArraySize is less than the workers. Raises UsageError
    where there is no sbatch, SaEngineError with its own words where it refuses.
    """
    if shutil.which("sbatch") is None:
        raise UsageError(
            "sbatch is not to be found: submit from a machine that has it, or take the script of "
            "--dry-run there"
        )
    path = script_path(job, options)
    text = slurm_script(job, options)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    path.chmod(0o755)
    ids = []
    for size in array_sizes(job.workers, _largest_array()):
        answer = _run(["sbatch", "--parsable", f"--array=0-{size - 1}", str(path)])
        ids.append(answer.strip().partition(";")[0])
    return tuple(ids)


def array_sizes(workers: int, largest: int) -> list[int]:
    """Jobs of each array: all in one, or in as many as it takes."""
    full, rest = divmod(workers, largest)
    return [largest] * full + ([rest] if rest else [])


def _largest_array() -> int:
    """Jobs that one array may have: its numbers are below MaxArraySize (default 1001)."""
    found = re.search(r"^MaxArraySize\s*=\s*(\d+)", _run(["scontrol", "show", "config"]), re.M)
    return max(1, int(found[1])) if found else 1000


def _run(words: Sequence[str]) -> str:
    """What a command of Slurm prints."""
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split())
        raise SaEngineError(f"{words[0]} refused: {said}")
    return done.stdout


def _escaped(folder: Path) -> str:
    """A folder in a pattern of file names, where % begins a field."""
    return str(folder).replace("%", "%%")
