"""`sa-engine verify`: every byte, mask and count of a dataset."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click
from tqdm import tqdm

from sa_engine.cli.shared.places import PLACE, WEIGHTS
from sa_engine.dataset.folder.base import open_folder
from sa_engine.dataset.folder.spares import restore_from_spares
from sa_engine.dataset.shards.check import Problem
from sa_engine.dataset.verify import damaged_shards, verify
from sa_engine.pipelines.run.repair import Repaired
from sa_engine.pipelines.run.signals import stop_on_signals
from sa_engine.pipelines.stages.repair import repair_dataset

_SHOWN = 100


@click.command("verify", epilog="Example:  sa-engine verify dataset/ --repair")
@click.argument("dataset", type=PLACE)
@click.option("--quick", is_flag=True, help="Check checksums and counts alone, decode nothing.")
@click.option(
    "--repair",
    is_flag=True,
    help="Make damaged shards anew, and no others: from what is left of them, else from the source "
    "images and the model that made their masks.",
)
@click.option(
    "--checkpoint",
    type=WEIGHTS,
    help="That model's file, if it does not come with the engine.",
)
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda", "mps"]),
    default="auto",
    show_default=True,
    help="Where that model runs.",
)
def command(
    dataset: Path | str, quick: bool, repair: bool, checkpoint: Path | None, device: str
) -> int:
    """Check DATASET: checksums, schema, that masks decode, boxes, areas, ids and counts.

    With --repair a damaged shard ends with the bytes that it had. What cannot be repaired stays as
    it is, and is named with what it needs.

    Exit status: 0 if all is well, or is again; 1 with a list of what is not; 2 if there is no
    dataset; 130 interrupted, to be continued.
    """
    for name in restore_from_spares(open_folder(dataset)) if repair else ():
        click.echo(f"{name}: restored from its second copy")
    with _bar("verify") as progress:
        problems = verify(dataset, deep=not quick, progress=progress)
    if not problems:
        click.echo(f"{dataset}: no problems")
        return 0
    for problem in problems[:_SHOWN]:
        click.echo(str(problem))
    if len(problems) > _SHOWN:
        click.echo(f"and {len(problems) - _SHOWN} more")
    shards = damaged_shards(problems)
    line = f"{dataset}: {len(problems)} problems"
    if shards:
        line += f" in shards {', '.join(map(str, shards[:20]))}" + ("…" if len(shards) > 20 else "")
    click.echo(line, err=True)
    if not repair:
        return 1
    elsewhere = [problem for problem in problems if problem.shard_index is None]
    return _repair(dataset, shards, elsewhere, checkpoint, device)


def _repair(
    dataset: Path | str,
    shards: Sequence[int],
    elsewhere: Sequence[Problem],
    checkpoint: Path | None,
    device: str,
) -> int:
    """Repair, say what became of each shard, and look at those that were repaired once more."""
    with _bar("repair") as progress, stop_on_signals() as stop:
        results = repair_dataset(
            dataset, shards, checkpoint=checkpoint, device=device, stop=stop, progress=progress
        )
    repaired = [each.shard_index for each in results if isinstance(each, Repaired)]
    for each in results:
        if not isinstance(each, Repaired):
            click.echo(f"shard {each.shard_index}: not repaired: {each.why}", err=True)
            continue
        note = ""
        if each.is_same is False:
            note = "; the bytes are not those that it had: made by other hardware or libraries"
        elif each.is_same is None:
            note = "; nothing is left to tell whether the bytes are those that it had"
        click.echo(f"shard {each.shard_index}: repaired: {each.how}{note}")
    left = verify(dataset, shards=repaired) if repaired else []
    for problem in (*left, *elsewhere):
        click.echo(str(problem), err=True)
    wrong = len(results) - len(repaired) + len({problem.shard_index for problem in left})
    click.echo(f"{dataset}: {len(repaired)} shards repaired, {wrong} are damaged still")
    return 1 if wrong or elsewhere else 0


@contextmanager
def _bar(title: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar of shards, as the function to be called; silent off a terminal."""
    with tqdm(desc=title, unit="shard", disable=not sys.stderr.isatty()) as bar:

        def advance(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield advance
