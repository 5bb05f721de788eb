"""`sa-engine loop`: gather, retrain, measure, promote, round by round."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sa_engine.cli.shared.command import GroupedCommand
from sa_engine.cli.shared.console import console
from sa_engine.cli.shared.places import LOCAL_PATH
from sa_engine.cli.shared.progress import duration
from sa_engine.errors import ExitStatus, UsageError

if TYPE_CHECKING:
    from sa_engine.pipelines.loop.state import LoopState, RoundState

LOOK_EVERY_S = 5.0
"""Seconds between looks at what people have done."""


@click.command(
    "loop",
    cls=GroupedCommand,
    epilog="How far is it:  sa-engine loop examples/loop/loop.toml --status",
)
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
@click.option(
    "--wait",
    is_flag=True,
    help="Stay while people are at work, and go on as soon as they are done, instead of ending "
    "with 4.",
)
def command(
    config: Path, out: Path | None, variables: tuple[str, ...], status: bool, wait: bool
) -> int:
    """Run the data engine as CONFIG declares it: rounds of gathering masks and retraining.

    Each round gathers masks (import, semi, auto), trains on all of them, and measures the model on
    held-out masks: only a better one is promoted and makes the next round's masks. OUT gets a
    folder for each round, a registry of which model made which masks and which masks trained which
    model, and a page with curves, index.html. The same command again goes on where the last one
    stopped; after a change of CONFIG it makes again what depends on the change.

    Exit status: 0 all rounds done; 1 engine error; 2 usage; 4 waiting for people to correct
    proposals; 130 interrupted.
    """
    # Here, so that --help does not wait for torch.
    from sa_engine.cli.loop_screen import LoopScreen
    from sa_engine.pipelines.loop.reading import read_loop
    from sa_engine.pipelines.loop.rounds import look_at_loop, run_loop

    loop = read_loop(config, out=out, variables=_variables(variables))
    if status:
        _show(look_at_loop(loop))
        return ExitStatus.DONE
    state = run_loop(loop, watcher=LoopScreen())
    while wait and state.waiting is not None:
        console().say(f"waiting: {state.waiting}; looked at every {LOOK_EVERY_S:.0f} s")
        while look_at_loop(loop).waiting is not None:
            time.sleep(LOOK_EVERY_S)
        state = run_loop(loop, watcher=LoopScreen())
    _show(state)
    if state.waiting is not None:
        console().say(f"waiting: {state.waiting}")
        return ExitStatus.WAITING
    console().say(f"{loop.out / 'index.html'} shows the curves")
    return ExitStatus.DONE


def _variables(texts: tuple[str, ...]) -> dict[str, str]:
    """`NAME=VALUE` texts as a mapping; a value that is a path here stays one from anywhere."""
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise UsageError(f"--set {text!r} is not NAME=VALUE, such as images=photographs/")
        found[name] = str(Path(value).resolve()) if Path(value).exists() else value
    return found


def _record(state: "LoopState") -> dict[str, Any]:
    """The state under the keys of its JSON."""
    return {
        "start": None if state.start is None else state.start.own,
        "rounds": [
            {
                "name": each.name,
                "state": each.progress,
                "mean_iou": None if each.measured is None else each.measured.own,
                "promoted": each.promoted,
                "images": sum(gathered.images for gathered in each.sets),
                "masks": sum(gathered.num_masks for gathered in each.sets),
                "seconds": each.seconds,
            }
            for each in state.rounds
        ],
        "model": state.model.made_by,
        "detector": None if state.detector is None else state.detector.made_by,
        "waiting": state.waiting,
        "is_done": state.is_done,
    }


def _show(state: "LoopState") -> None:
    """The rounds as a table, or as JSON."""
    from sa_engine.evaluation.summary import layout

    console().result(_record(state))
    heads = ["round", "state", "mean IoU", "model", "images", "masks", "masks/img", "time"]
    lines = []
    if state.start is not None:
        lines.append(["start", "", f"{state.start.own:.4f}", "", "", "", "", ""])
    lines += [_line(each) for each in state.rounds]
    console().say(layout(heads, lines))
    stages: dict[str, int] = {}
    for each in state.rounds:
        for gathered in each.sets:
            for stage, count in gathered.masks.items():
                stages[stage] = stages.get(stage, 0) + count
    if stages:
        said = ", ".join(f"{count} {stage}" for stage, count in stages.items())
        console().say(f"masks by stage: {said}")
    detector = state.detector
    standing = "" if detector is None else f", detector of {detector.made_by}"
    console().say(f"in force: model of {state.model.made_by}{standing}")
    current = next((each for each in state.rounds if each.doing is not None), None)
    if current is not None and state.waiting is None:
        spent = current.doing_seconds
        begun = "not begun" if spent is None else f"{duration(spent)} spent on it"
        console().say(f"next: {current.doing} ({begun})")
    elif state.doing is not None:
        console().say(f"next: {state.doing}")


def _line(each: "RoundState") -> list[str]:
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
