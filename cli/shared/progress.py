"""How far a long job is: a bar on a terminal, a line every half minute elsewhere."""

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Protocol, Self, TypeVar

from tqdm import tqdm

from sa_engine.cli.shared.console import console
from sa_engine.cli.shared.printable import in_line

if TYPE_CHECKING:
    from sa_engine.pipelines.run.events import ImageDone

LINE_EVERY_S = 30.0
"""Seconds between the lines that stand for a bar where there is no terminal."""


class Meter:
    """Shows how far a job is, its rate and the time left; nothing with -q.

    On a terminal it is a bar; elsewhere, as in the log of a batch job, a plain line on stderr every
    30 s, so that short jobs leave none. A context manager.

    title: what is done. unit: what is counted, in the singular.
    """

    def __init__(
        self,
        title: str,
        unit: str = "image",
        *,
        total: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._title, self._unit, self._clock = title, unit, clock
        self._bar: tqdm[Any] | None = None
        self._total, self._done, self._before = total, 0, 0
        self._begun = self._said = clock()
        if total is not None:
            self.begin(total)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def begin(self, total: int, done: int = 0) -> None:
        """There are so many, of which `done` were done before; those do not count for the rate."""
        self._total, self._done, self._before = total, done, done
        self._begun = self._said = self._clock()
        says = console()
        if sys.stderr.isatty() and not says.quiet and not says.verbose:
            self._bar = tqdm(
                total=total,
                initial=done,
                desc=self._title,
                unit=self._unit,
                dynamic_ncols=True,
                smoothing=0.1,
            )

    def resume(self, done: int) -> None:
        """Move on over so many that turn out to be done already."""
        self._done += done
        self._before += done
        if self._bar is not None:
            self._bar.initial += done
            self._bar.n += done
            self._bar.refresh()

    def to(self, done: int, total: int | None = None, note: str = "") -> None:
        """So many are done now, of so many. note: a few words beside the numbers."""
        if total is not None and total != self._total:
            if self._total is None:
                self.begin(total)
            self._total = total
            if self._bar is not None:
                self._bar.total = total
        moved, self._done = done - self._done, done
        if self._bar is not None:
            self._bar.set_postfix_str(note, refresh=False)
            self._bar.update(moved)
        elif self._clock() - self._said >= LINE_EVERY_S:
            self._said = self._clock()
            console().note(self.line(note))

    def step(self, note: str = "") -> None:
        """One more is done."""
        self.to(self._done + 1, note=note)

    def line(self, note: str = "") -> str:
        """The line that stands for the bar."""
        done = count(self._done, self._unit)
        if self._total is not None:
            done = f"{self._done} of {count(self._total, self._unit)}"
        parts = [f"{self._title}: {done}"]
        new, seconds = self._done - self._before, self._clock() - self._begun
        if new and seconds > 0:
            rate = new / seconds
            parts.append(f"{rate:.3g}/s" if rate >= 1 else f"{1 / rate:.3g} s each")
            if note:
                parts.append(note)
            if self._total is not None:
                parts.append(f"{duration((self._total - self._done) / rate)} left")
        elif note:
            parts.append(note)
        return ", ".join(parts)

    def close(self) -> None:
        """Leave the bar as it is."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


class _HasStep(Protocol):
    @property
    def step(self) -> int: ...


R = TypeVar("R", bound=_HasStep)


class StepBar(Generic[R]):
    """A meter of a training's steps with what its last report says.

    horizon: of a report, the steps that the run will have had; 0 where nothing else than `steps`
        is known.
    """

    def __init__(
        self,
        title: str,
        steps: int,
        describe: Callable[[R], str],
        *,
        horizon: Callable[[R], int] = lambda _: 0,
    ) -> None:
        self._describe: Callable[[R], str] = describe
        self._horizon: Callable[[R], int] = horizon
        self._meter = Meter(title, "step")
        self._steps, self._note, self._last = steps, "", -1

    @property
    def has_begun(self) -> bool:
        """Whether there was any step: none comes of a run that was finished before."""
        return self._last >= 0

    def step(self, done: int) -> None:
        """So many steps are done."""
        if self._last < 0:
            # Steps of an earlier, stopped run do not count towards the rate, nor does the first,
            # which takes longer than the others.
            self._meter.begin(self._steps, done)
        if done > self._last:
            self._last = done
            self._meter.to(done, self._steps, note=self._note)
        if done == self._steps:
            self._meter.close()

    def report(self, made: R) -> None:
        """Show one report."""
        self._note = self._describe(made)
        self._steps = self._horizon(made) or self._steps
        console().detail(f"step {made.step}: {self._note}")
        self.step(made.step)


class RunBar(Meter):
    """A meter of images with masks an image and failures. See `pipelines.run.watch.Progress`."""

    def __init__(self, title: str) -> None:
        super().__init__(title)
        self._images = self._masks = self._failed = 0

    def image(self, done: "ImageDone") -> None:
        """Count one image."""
        self._images += 1
        self._masks += done.num_masks
        self._failed += done.error is not None
        good = max(1, self._images - self._failed)
        what = count(done.num_masks, "mask") if done.error is None else f"failed: {done.error}"
        console().detail(f"{in_line(done.source)}: {what}")
        self.step(f"{self._masks / good:.1f} masks an image, {self._failed} failed")


def count(number: int, noun: str, nouns: str = "") -> str:
    """A number and its noun: "1 image", "2 images". nouns: the plural, if it is more than an s."""
    return f"{number} {noun if number == 1 else nouns or noun + 's'}"


def duration(seconds: float) -> str:
    """Seconds for people: "8.5 s", "2 min 5 s", "3 h 20 min"."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
