"""Where the steps of a loop are made: the config, the steps on disk, and who watches."""

from collections.abc import Callable, Mapping
from typing import Any

from sa_engine.pipelines.loop.config import (
    LoopConfig,
)
from sa_engine.pipelines.loop.steps import (
    Clock,
    Step,
    Steps,
    Work,
)
from sa_engine.pipelines.run.watch import Progress
from sa_engine.pipelines.run.workers import Workers


class Watcher:
    """Sees a loop go on. This one looks away; a command line shows what it sees."""

    def begin(self, label: str) -> None:
        """A step is looked up, and made if it is not there."""

    def images(self) -> Progress | None:
        """Somebody to watch the images of the step in hand."""
        return None

    def training(self, steps: int) -> Callable[[Any], None]:  # noqa: ARG002 - looks away
        """Somebody to hear the reports of a training of so many steps."""
        return lambda _: None

    def done(self, label: str, step: Step, *, made: bool) -> None:
        """The step is there; `made` if it was not before."""

    def say(self, text: str) -> None:
        """Something else that users want to know."""


class _Ticking:
    """Passes progress on and keeps a step's clock."""

    def __init__(self, clock: Clock, inner: Progress | None) -> None:
        self._clock, self._inner = clock, inner

    def begin(self, total: int, done: int) -> None:
        if self._inner is not None:
            self._inner.begin(total, done)

    def resume(self, done: int) -> None:
        if self._inner is not None:
            self._inner.resume(done)

    def image(self, done: Any) -> None:
        self._clock.tick()
        if self._inner is not None:
            self._inner.image(done)


class Bench:
    """Makes steps, or only looks which are there.

    perform: make what is missing; otherwise a missing step raises NotDone.
    """

    def __init__(self, config: LoopConfig, *, watcher: Watcher, perform: bool) -> None:
        self.config = config
        self.watcher = watcher
        self.workers = Workers(count=config.workers)
        self._steps = Steps(config.out / "steps")
        self._perform = perform

    def step(self, kind: str, inputs: Mapping[str, Any], work: Work, label: str) -> Step:
        """The step with these inputs; `work` makes it if it is not there."""
        if not self._perform:
            return self._steps.find(kind, inputs, label=label)
        self.watcher.begin(label)
        step, made = self._steps.make(kind, inputs, work, label=label)
        self.watcher.done(label, step, made=made)
        return step

    def progress(self, clock: Clock) -> Progress:
        """Somebody to watch images go by, who keeps the step's clock, too."""
        return _Ticking(clock, self.watcher.images())
