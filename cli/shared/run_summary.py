"""The line that a run over images ends with."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sa_engine.cli.shared.console import console
from sa_engine.cli.shared.printable import in_line
from sa_engine.cli.shared.progress import count, duration
from sa_engine.dataset.folder.base import open_folder
from sa_engine.dataset.manifest import read_manifest
from sa_engine.dataset.shards.stats import complete_shards
from sa_engine.errors import ExitStatus

if TYPE_CHECKING:
    from sa_engine.pipelines.run.watch import RunSummary


def report_run(
    summary: "RunSummary",
    *,
    failed_ok: float | None = None,
    nothing_found: str = "",
    beside: dict[str, Any] | None = None,
) -> ExitStatus:
    """Print a run's one line, name what failed, and return the exit status.

    failed_ok: share of the images that may fail before the exit status says so; None for none.
    nothing_found: what to try where no image has a mask; "" if that is no surprise.
    beside: further values of the result as JSON; None if the caller prints the result itself.
    """
    says = console()
    num_failed = sum(summary.num_failed.values())
    num_ok = summary.num_images - num_failed
    mean = summary.num_masks / num_ok if num_ok else 0.0
    line = (
        f"{summary.out}: {count(num_ok, 'image')}, {count(summary.num_masks, 'mask')} "
        f"({mean:.1f} an image) in {duration(summary.seconds)}"
    )
    if summary.num_new < summary.num_images:
        line += f", {summary.num_images - summary.num_new} of them done before"
    if summary.num_repaired:
        line += f"; {count(summary.num_repaired, 'damaged shard')} made again"
    if summary.num_retried:
        line += f"; {summary.num_retried} tried again, {summary.num_still_failing} still fail"
    if num_failed:
        reasons = ", ".join(f"{number} {reason}" for reason, number in summary.num_failed.items())
        line += f"; {num_failed} failed ({reasons})"
    if summary.num_left:
        line += f"; {count(summary.num_left, 'shard')} of others not made yet"
    says.say(line)
    if beside is not None:
        says.result({**as_record(summary), **beside})
    if num_ok and not summary.num_masks and nothing_found:
        click.echo(f"  not a single mask: {nothing_found}", err=True)
    for failure in summary.failures:
        click.echo(f"  failed: {in_line(failure.source)}: {in_line(failure.error)}", err=True)
    unnamed = num_failed - len(summary.failures)
    if unnamed > 0:
        click.echo(f"  and {unnamed} more: see `sa-engine status {summary.out}`", err=True)
    if num_failed and not summary.num_retried:
        click.echo("  to try them again: the same command with --retry-failed", err=True)
    tolerated = (failed_ok or 0) * summary.num_images
    return ExitStatus.SOME_FAILED if num_failed > tolerated else ExitStatus.DONE


def report_prepared(out: Path | str) -> ExitStatus:
    """Say what was frozen at `out`, and how the work goes on."""
    folder = open_folder(out)
    manifest = read_manifest(folder)
    complete = len(complete_shards(folder, manifest))
    images, shards = count(manifest.num_images, "image"), count(manifest.num_shards, "shard")
    line = f"{out}: prepared: {images} in {shards}"
    if complete:
        line += f", {complete} of them complete"
    console().say(f"{line}; go on with: sa-engine work {shlex.quote(str(out))}")
    console().result(
        {
            "out": str(out),
            "images": manifest.num_images,
            "shards": manifest.num_shards,
            "shards_complete": complete,
        }
    )
    return ExitStatus.DONE


def as_record(summary: "RunSummary") -> dict[str, Any]:
    """A run's summary under the keys of its JSON."""
    failed = sum(summary.num_failed.values())
    return {
        "out": summary.out,
        "images": summary.num_images - failed,
        "masks": summary.num_masks,
        "failed": dict(summary.num_failed),
        "seconds": round(summary.seconds, 3),
        "done_before": summary.num_images - summary.num_new,
        "tried_again": summary.num_retried,
        "still_failing": summary.num_still_failing,
        "shards_repaired": summary.num_repaired,
        "shards_left_to_others": summary.num_left,
        "failures": [
            {"image_id": each.image_id, "source": each.source, "error": each.error}
            for each in summary.failures
        ],
    }
