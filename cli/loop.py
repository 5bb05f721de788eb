"""`sa-engine loop`: gather, retrain, measure, promote, round by round."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from tqdm import tqdm

from sa_engine.cli.shared.places import LOCAL_PATH
from sa_engine.cli.shared.progress import RunBar, duration
from sa_engine.errors import UsageError
from sa_engine.evaluation.summary import layout
from sa_engine.pipelines.loop.bench import Watcher
from sa_engine.pipelines.loop.reading import read_loop
from sa_engine.pipelines.loop.rounds import look_at_loop, run_loop
from sa_engine.pipelines.loop.state import LoopState, RoundState
from sa_engine.pipelines.loop.steps import Step
from sa_engine.pipelines.run.watch import Progress

WAITING = 3


class _Screen(Watcher):
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
        bar: tqdm[Any] = tqdm(
            total=steps,
            desc=self._label,
            unit="step",
            disable=not sys.stderr.isatty(),
            dynamic_ncols=True,
        )

        def report(made: Any) -> None:
            bar.set_postfix_str(f"loss {made.loss:.3f}", refresh=False)
            bar.update(made.step - bar.n)
            if made.step == steps:
                bar.close()

        return report

    def done(self, label: str, step: Step, *, made: bool) -> None:
        if self._bar is not None:
            self._bar.__exit__(None, None, None)
            self._bar = None
        said = _result(step)
        how = duration(step.seconds) if made else "done before"
        click.echo(f"{label}: {said + ', ' if said else ''}{how}")

    def say(self, text: str) -> None:
        click.echo(text)


@click.command("loop", epilog="How far is it:  sa-engine loop examples/loop/loop.toml --status")
@click.argument("config", type=LOCAL_PATH)
@click.option(
    "--out",
    type=LOCAL_PATH,
    help="The folder of the loop, instead of the one that CONFIG names.",
)
@click.option(
    "--set",
    "variables",
    multiple=True,
    metavar="NAME=VALUE",
    help="Another value for one of CONFIG's [variables], such as images=photographs/.",
)
@click.option("--status", is_flag=True, help="Say how far the loop is, and make nothing.")
def command(config: Path, out: Path | None, variables: tuple[str, ...], status: bool) -> int:
    """Run the data engine as CONFIG declares it: rounds of gathering masks and retraining.

    Each round gathers masks (import, semi, auto), trains on all of them, and measures the model on
    held-out masks: only a better one is promoted and makes the next round's masks. OUT gets a
    folder for each round, a registry of which model made which masks and which masks trained which
    model, and a page with curves, index.html. The same command again goes on where the last one
    stopped; after a change of CONFIG it makes anew what depends on the change.

    Exit status: 0 all rounds done; 1 engine error; 2 usage; 3 waiting for people to correct
    proposals; 130 interrupted.
    """
    loop = read_loop(config, out=out, variables=_variables(variables))
    if status:
        _show(look_at_loop(loop))
        return 0
    state = run_loop(loop, watcher=_Screen())
    _show(state)
    if state.waiting is not None:
        click.echo(f"waiting: {state.waiting}")
        return WAITING
    click.echo(f"{loop.out / 'index.html'} shows the curves")
    return 0


def _variables(texts: tuple[str, ...]) -> dict[str, str]:
    """`NAME=VALUE` texts as a mapping; a value that is a path here stays one from anywhere."""
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise UsageError(f"--set {text!r} is not NAME=VALUE, such as images=photographs/")
        found[name] = str(Path(value).resolve()) if Path(value).exists() else value
    return found


def _show(state: LoopState) -> None:
    """The rounds as a table."""
    heads = ["round", "state", "mean IoU", "model", "images", "masks", "masks/img", "time"]
    lines = []
    if state.start is not None:
        lines.append(["start", "", f"{state.start.own:.4f}", "", "", "", "", ""])
    lines += [_line(each) for each in state.rounds]
    click.echo(layout(heads, lines))
    stages: dict[str, int] = {}
    for each in state.rounds:
        for gathered in each.sets:
            for stage, count in gathered.masks.items():
                stages[stage] = stages.get(stage, 0) + count
    if stages:
        said = ", ".join(f"{count} {stage}" for stage, count in stages.items())
        click.echo(f"masks by stage: {said}")
    detector = state.detector
    standing = "" if detector is None else f", detector of {detector.made_by}"
    click.echo(f"in force: model of {state.model.made_by}{standing}")
    current = next((each for each in state.rounds if each.doing is not None), None)
    if current is not None and state.waiting is None:
        spent = current.doing_seconds
        begun = "not begun" if spent is None else f"{duration(spent)} spent on it"
        click.echo(f"next: {current.doing} ({begun})")
    elif state.doing is not None:
        click.echo(f"next: {state.doing}")


def _line(each: RoundState) -> list[str]:
    images = sum(gathered.images for gathered in each.sets)
    masks = sum(gathered.num_masks for gathered in each.sets)
    return [
        each.name,
        each.progress.value,
        "" if each.measured is None else f"{each.measured.own:.4f}",
        {None: "", True: "promoted", False: "not promoted"}[each.promoted],
        str(images or ""),
        str(masks or ""),
        f"{masks / images:.1f}" if images else "",
        duration(each.seconds) if each.steps else "",
    ]


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
