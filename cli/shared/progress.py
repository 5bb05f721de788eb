"""What a long run shows on a terminal, and the line it ends with."""

import sys
from collections.abc import Callable
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import click
from tqdm import tqdm

from sa_engine.pipelines.run.watch import RunSummary
from sa_engine.pipelines.run.worker import ImageDone
from sa_engine.training.detector.report import DetectorReport
from sa_engine.training.metrics import StepReport
from sa_engine.training.sam.align import AlignReport

R = TypeVar("R", StepReport, DetectorReport, AlignReport)

PARTIAL = 3
"""Exit status of a run that is done, but in which some images failed."""


class StepBar(Generic[R]):
    """A bar of a training's steps with what each report says; silent off a terminal."""

    def __init__(self, title: str, steps: int, describe: Callable[[R], str]) -> None:
        self._describe: Callable[[R], str] = describe
        self._bar: tqdm[Any] = tqdm(
            total=steps,
            desc=title,
            unit="step",
            disable=not sys.stderr.isatty(),
            dynamic_ncols=True,
        )
        self._begun = False

    @property
    def has_begun(self) -> bool:
        """Whether there was any report: none comes of a run that was finished before."""
        return self._begun

    def report(self, made: R) -> None:
        """Show one report."""
        if not self._begun:
            # Steps of an earlier, stopped run do not count towards the rate.
            self._bar.initial = self._bar.n = made.step
            self._begun = True
        self._bar.set_postfix_str(
            f"{self._describe(made)}, {made.images_per_s:.1f} img/s", refresh=False
        )
        self._bar.update(made.step - self._bar.n)
        if made.step == self._bar.total:
            self._bar.close()


class RunBar:
    """A bar with images/s, masks an image, failures and time left; silent off a terminal."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._bar: tqdm[Any] | None = None
        self._images = self._masks = self._failed = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def begin(self, total: int, done: int) -> None:
        """Show the bar; images that were done before do not count towards the rate."""
        self._bar = tqdm(
            total=total,
            initial=done,
            desc=self._title,
            unit="img",
            disable=not sys.stderr.isatty(),
            dynamic_ncols=True,
            smoothing=0.1,
        )

    def resume(self, done: int) -> None:
        """Move on over images that turn out to be done already."""
        if self._bar is not None and not self._bar.disable:
            self._bar.initial += done
            self._bar.n += done
            self._bar.refresh()

    def image(self, done: ImageDone) -> None:
        """Count one image."""
        self._images += 1
        self._masks += done.num_masks
        self._failed += done.error is not None
        if self._bar is not None:
            going = max(1, self._images - self._failed)
            self._bar.set_postfix_str(
                f"{self._masks / going:.1f} masks/img, {self._failed} failed", refresh=False
            )
            self._bar.update()


def report_run(summary: RunSummary) -> int:
    """Print a run's one line, name what failed, and return the exit status."""
    num_failed = sum(summary.num_failed.values())
    num_ok = summary.num_images - num_failed
    mean = summary.num_masks / num_ok if num_ok else 0.0
    line = (
        f"{summary.out}: {num_ok} images, {summary.num_masks} masks ({mean:.1f} an image)"
        f" in {duration(summary.seconds)}"
    )
    if summary.num_new < summary.num_images:
        line += f", {summary.num_images - summary.num_new} of them done before"
    if summary.num_repaired:
        line += f"; {summary.num_repaired} damaged shards made anew"
    if summary.num_retried:
        line += f"; {summary.num_retried} tried again, {summary.num_still_failing} still fail"
    if num_failed:
        reasons = ", ".join(f"{count} {reason}" for reason, count in summary.num_failed.items())
        line += f"; {num_failed} failed ({reasons})"
    click.echo(line)
    for failure in summary.failures:
        click.echo(f"  failed: {failure.source}: {failure.error}", err=True)
    unnamed = num_failed - len(summary.failures)
    if unnamed > 0:
        click.echo(f"  and {unnamed} more: see `sa-engine status {summary.out}`", err=True)
    if num_failed and not summary.num_retried:
        click.echo("  once the cause is mended: the same command with --retry-failed", err=True)
    return PARTIAL if num_failed else 0


def duration(seconds: float) -> str:
    """Seconds for people: "8.5 s", "2 min 5 s", "3 h 20 min"."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
