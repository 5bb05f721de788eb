"""`sa-engine submit`: the work on a dataset handed to a scheduler."""

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from sa_engine.cli.shared.console import console
from sa_engine.cli.shared.options import (
    CommandGroup,
    GroupedCommand,
    all_of,
    option,
    take,
)
from sa_engine.cli.shared.places import LOCAL_PATH, PLACE
from sa_engine.cli.shared.progress import count
from sa_engine.dataset.folder.place import is_url
from sa_engine.errors import UsageError
from sa_engine.pipelines.executors.job import ClusterJob, useful_workers
from sa_engine.pipelines.executors.kubernetes import KubernetesOptions, as_yaml, kubernetes_job
from sa_engine.pipelines.executors.slurm import (
    SlurmOptions,
    script_path,
    slurm_script,
    submit_slurm,
)

F = TypeVar("F", bound=Callable[..., Any])


@click.group("submit", cls=CommandGroup)
def command() -> None:
    """Hand the work on a dataset to a scheduler: so many `sa-engine work` on it.

    The dataset comes first, made with --prepare (or begun) by `auto` or `semi`:

    \b
    sa-engine auto photos/ --out dataset/ --preset sa-1b --prepare
    sa-engine submit slurm dataset/ --workers 16 --time 4:00:00
    """


def job_options(memory: str) -> Callable[[F], F]:
    """What every scheduler is asked for. memory: the default, in its own words."""
    return all_of(
        click.argument("out", metavar="DATASET", type=PLACE),
        click.option(
            "--workers",
            type=click.IntRange(min=1),
            required=True,
            help="How many are started; no more than there are shards to do.",
        ),
        option(
            "--name",
            group="Job",
            help="Of the job.  [default: the dataset's]",
        ),
        option(
            "--gpus",
            group="Job",
            type=click.IntRange(min=0),
            default=1,
            show_default=True,
            help="Of each worker.",
        ),
        option(
            "--cpus",
            group="Job",
            type=click.IntRange(min=1),
            default=8,
            show_default=True,
            help="Cores of each worker.",
        ),
        option(
            "--memory",
            group="Job",
            default=memory,
            show_default=True,
            help="Of each worker.",
        ),
    )


WORK_OPTIONS = {
    "checkpoint": "The model's file as the workers see it, if it does not come with the engine.",
    "detector": "The detector's file, the same.",
    "existing": "The dataset that `semi` was given as --existing, the same.",
}

work_options = all_of(
    *(option(f"--{name}", group="Work", help=text) for name, text in WORK_OPTIONS.items()),
    option(
        "--failed-images-ok",
        group="Work",
        type=click.FloatRange(0, 1),
        metavar="SHARE",
        help="A job has failed only where more than this share of the images has.",
    ),
    option(
        "--retry-failed",
        group="Work",
        is_flag=True,
        help="Try the images again that failed in earlier runs.",
    ),
)


@command.command(
    "slurm",
    cls=GroupedCommand,
    resumes=False,
    epilog="Example:  sa-engine submit slurm dataset/ --workers 16 --time 4:00:00 "
    "--setup 'source /venvs/sa/bin/activate'",
)
@job_options("32G")
@option("--time", group="Slurm", default="12:00:00", show_default=True, help="Limit of each job.")
@option("--partition", group="Slurm", help="Of the cluster.  [default: its own choice]")
@option(
    "--sbatch",
    "directives",
    group="Slurm",
    multiple=True,
    metavar="NAME=VALUE",
    help="A further option of sbatch, as account=vision; may be given several times.",
)
@option(
    "--setup",
    group="Slurm",
    multiple=True,
    metavar="LINE",
    help="A line of shell before the work, as 'module load cuda'; may be given several times. With "
    "one, the workers call `sa-engine`; without, the very Python that runs this.",
)
@option(
    "--folder",
    group="Slurm",
    type=LOCAL_PATH,
    help="Where script and logs go.  [default: DATASET.slurm]",
)
@work_options
@option("--dry-run", group="Slurm", is_flag=True, help="Print the script, and hand over nothing.")
def slurm(dry_run: bool, **options: Any) -> None:
    """Start workers of DATASET as a Slurm job array, from a machine that has sbatch.

    A job that is preempted or runs out of time is put back in the queue; the same command again,
    with any number of workers, continues what is left after anything else.
    """
    folder: Path | None = options.pop("folder")
    setup = tuple(options.pop("setup"))
    own = {
        "time": options.pop("time"),
        "partition": options.pop("partition"),
        "directives": tuple(options.pop("directives")),
    }
    job = _job(options, command=("sa-engine",) if setup else (sys.executable, "-m", "sa_engine"))
    beside = f"{job.name}.slurm" if is_url(job.out) else f"{job.out}.slurm"
    place = SlurmOptions(folder=(folder or Path(beside)).absolute(), setup=setup, **own)
    if dry_run:
        click.echo(slurm_script(job, place), nl=False)
        return
    ids = submit_slurm(job, place)
    says = console()
    says.say(
        f"{' '.join(ids)}: {count(job.workers, 'worker')} of {job.out}; logs in {place.folder}; "
        f"how far it is: sa-engine status {job.out} --watch 60"
    )
    says.result(
        {
            "jobs": list(ids),
            "workers": job.workers,
            "script": str(script_path(job, place)),
            "logs": str(place.folder),
        }
    )


@command.command(
    "kubernetes",
    cls=GroupedCommand,
    resumes=False,
    epilog="Example:  sa-engine submit kubernetes s3://bucket/dataset --image registry/sa-engine:1 "
    "--workers 8 | kubectl create -f -",
)
@job_options("32Gi")
@option(
    "--image", group="Kubernetes", required=True, help="The container's image, with the engine."
)
@option(
    "--claim",
    group="Kubernetes",
    help="The PersistentVolumeClaim (ReadWriteMany) on which dataset and photographs lie; DATASET "
    "is then a path as the pods see it.",
)
@option(
    "--mount",
    group="Kubernetes",
    default="/data",
    show_default=True,
    help="Where the pods see the claim.",
)
@option("--namespace", group="Kubernetes", help="Of the job.  [default: kubectl's]")
@option(
    "--scratch",
    group="Kubernetes",
    default="50Gi",
    show_default=True,
    help="Local disk of a pod, for a dataset in an object store.",
)
@work_options
@option(
    "--dry-run",
    group="Kubernetes",
    is_flag=True,
    help="Print the job and do nothing else, which is all that this ever does.",
)
def kubernetes(dry_run: bool, **options: Any) -> None:  # noqa: ARG001 - it never does more
    """Print an indexed Job that makes DATASET, for `kubectl create -f -`.

    Evictions and stops are no faults and are made good; images that fail do not fail the job unless
    --failed-images-ok says how many may.
    """
    own = take(options, ["image", "claim", "mount", "namespace", "scratch"])
    if options["failed_images_ok"] is None:
        options["failed_images_ok"] = 1.0
    if own["claim"] is None and not is_url(str(options["out"])):
        raise UsageError(
            f"{options['out']} lies on a disk: name the volume that the pods see it on with "
            "--claim, or give the URL of a dataset in an object store"
        )
    job = _job(options, command=("sa-engine",), seen_from_here=own["claim"] is None)
    click.echo(as_yaml(kubernetes_job(job, KubernetesOptions(**own))), nl=False)


def _job(
    options: dict[str, Any], *, command: tuple[str, ...], seen_from_here: bool = True
) -> ClusterJob:
    """The job that a command's options ask for.

    seen_from_here: whether the dataset must lie where this command runs, too; where it does, no
        more workers are asked for than it has shards to do.
    """
    out = str(options["out"])
    wanted = options["workers"]
    is_seen = seen_from_here or Path(out).exists()
    if is_seen and not is_url(out):
        out = str(Path(out).absolute())
    if is_seen:
        workers = useful_workers(out, wanted, retry_failed=options["retry_failed"])
        if workers < wanted:
            console().note(
                f"{count(workers, 'shard is', 'shards are')} left to do: {workers} of {wanted} "
                "workers are asked for; a smaller --images-per-shard of `auto` makes more shards"
            )
    else:
        workers = wanted
        console().note(f"{out} is not seen from here, and was not looked at")
    return ClusterJob(
        out=out,
        name=_name(options["name"] or out),
        workers=workers,
        command=command,
        arguments=_arguments(options),
        gpus=options["gpus"],
        cpus=options["cpus"],
        memory=options["memory"],
    )


def _name(text: str) -> str:
    """A name that every scheduler takes, of the last part of a path."""
    last = re.split(r"[/\\]", text.rstrip("/\\"))[-1]
    name = re.sub(r"[^a-z0-9]+", "-", last.lower()).strip("-")[:50].strip("-")
    return name if name.startswith("sa-") else f"sa-{name}".rstrip("-")


def _arguments(options: dict[str, Any]) -> tuple[str, ...]:
    """What `sa-engine work` is told beside the dataset."""
    words = [
        word
        for name in WORK_OPTIONS
        if (value := options[name]) is not None
        for word in (f"--{name}", _absolute(value))
    ]
    if options["failed_images_ok"] is not None:
        words += ["--failed-images-ok", f"{options['failed_images_ok']:g}"]
    if options["retry_failed"]:
        words.append("--retry-failed")
    return tuple(words)


def _absolute(path: str) -> str:
    """A path that means the same in another working folder."""
    return path if is_url(path) else str(Path(path).absolute())
