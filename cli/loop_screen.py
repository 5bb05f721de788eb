"""What `sa-engine loop` shows while a loop goes on."""

from collections.abc import Callable
from typing import Any

from sa_engine.cli.shared.console import console
from sa_engine.cli.shared.progress import RunBar, StepBar, duration
from sa_engine.pipelines.loop.bench import Watcher
from sa_engine.pipelines.loop.steps import Step
from sa_engine.pipelines.run.watch import Progress


class LoopScreen(Watcher):
    """Bars on a terminal, and a line for each step."""

    def __init__(self) -> None:
        self._bar: RunBar | None = None
        self._label = ""

    def begin(self, label: str) -> None:
        self._label = label

    def images(self) -> Progress | None:
        self._bar = RunBar(self._label)
        return self._bar

    def training(self, steps: int) -> Callable[[Any], None]:
        bar = StepBar[Any](self._label, steps, lambda made: f"loss {made.loss:.3f}")
        return bar.report

    def done(self, label: str, step: Step, *, made: bool) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
        said = _result(step)
        how = duration(step.seconds) if made else "done before"
        console().say(f"{label}: {said + ', ' if said else ''}{how}")

    def say(self, text: str) -> None:
        console().say(text)


def _result(step: Step) -> str:
    """What came of a step, in a few words."""
    result = step.result
    if "measured" in result:
        measured = result["measured"]
        return f"mean IoU {measured['own']:.4f} ({measured['oracle']:.4f} best of 3)"
    if "boxes" in result:
        return f"AR@100 {result['boxes']['ar_100']:.4f}"
    if "proposals" in result:
        said = result["proposals"]
        kept = said["kept"] + said["edited"]
        line = f"{kept} of {said['shown']} proposals taken over, {said['added']} masks added"
        return line + _failed(result)
    if "masks" in result:
        return f"{result['images']} images, {sum(result['masks'].values())} masks{_failed(result)}"
    return ""


def _failed(result: Any) -> str:
    return f", {result['failed']} images failed" if result["failed"] else ""
