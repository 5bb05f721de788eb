"""`sa-engine verify`: every byte, mask and count of a dataset."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from sa_engine.cli.shared.command import GroupedCommand
from sa_engine.cli.shared.console import console
from sa_engine.cli.shared.places import DEVICE, PLACE, WEIGHTS
from sa_engine.cli.shared.printable import printable
from sa_engine.cli.shared.progress import Meter, count
from sa_engine.dataset.folder.base import open_folder
from sa_engine.dataset.folder.spares import restore_from_spares
from sa_engine.dataset.shards.check import Problem
from sa_engine.dataset.verify import damaged_shards, verify
from sa_engine.errors import ExitStatus
from sa_engine.pipelines.run.repair import Repaired
from sa_engine.pipelines.run.signals import stop_on_signals
from sa_engine.pipelines.stages.repair import repair_dataset

_SHOWN = 100


@click.command(
    "verify",
    cls=GroupedCommand,
    resumes=False,
    epilog="Example:  sa-engine verify dataset/ --repair",
)
@click.argument("dataset", type=PLACE)
@click.option(
    "--pixels",
    is_flag=True,
    help="Besides, decode every stored image, and hold it against its source where that is there.",
)
@click.option("--quick", is_flag=True, help="Check checksums and counts alone, decode nothing.")
@click.option(
    "--repair",
    is_flag=True,
    help="Make damaged shards again, and no others: from what is left of them, else from the "
    "source images and the model that made their masks.",
)
@click.option(
    "--checkpoint",
    type=WEIGHTS,
    help="That model's file, if it does not come with the engine.",
)
@click.option(
    "--device",
    type=DEVICE,
    default="auto",
    show_default=True,
    help="Where that model runs.",
)
def command(
    dataset: Path | str,
    pixels: bool,
    quick: bool,
    repair: bool,
    checkpoint: Path | None,
    device: str,
) -> int:
    """Check DATASET: checksums, schema, that masks decode, boxes, areas, ids and counts.

    With --repair a damaged shard ends with the bytes that it had. What cannot be repaired stays as
    it is, and is named with what it needs.

    Exit status: 0 if all is well, or is again; 1 with a list of what is not; 2 if there is no
    dataset; 130 interrupted, to be continued.
    """
    says = console()
    for name in restore_from_spares(open_folder(dataset)) if repair else ():
        says.say(f"{name}: restored from its second copy")
    with Meter("verify", "shard") as meter:
        problems = verify(dataset, deep=pixels or not quick, pixels=pixels, progress=meter.to)
    shards = damaged_shards(problems)
    record: dict[str, Any] = {
        "dataset": str(dataset),
        "problems": [{"what": str(each), "shard": each.shard_index} for each in problems],
        "damaged_shards": shards,
    }
    if not problems:
        if repair:
            # What a repair has left that was killed once it was done.
            repair_dataset(dataset, (), stop=lambda: False)
        says.say(f"{dataset}: no problems")
        says.result(record)
        return ExitStatus.DONE
    for problem in problems[:_SHOWN]:
        says.say(str(problem))
    if len(problems) > _SHOWN:
        says.say(f"and {len(problems) - _SHOWN} more")
    line = f"{dataset}: {count(len(problems), 'problem')}"
    if shards:
        line += f" in shards {', '.join(map(str, shards[:20]))}" + ("…" if len(shards) > 20 else "")
    click.echo(printable(line), err=True)
    status = ExitStatus.ERROR
    if repair:
        elsewhere = [problem for problem in problems if problem.shard_index is None]
        is_whole, record["repaired_shards"] = _repair(
            dataset, shards, elsewhere, checkpoint, device
        )
        status = ExitStatus.DONE if is_whole else ExitStatus.ERROR
    says.result(record)
    return status


def _repair(
    dataset: Path | str,
    shards: Sequence[int],
    elsewhere: Sequence[Problem],
    checkpoint: Path | None,
    device: str,
) -> tuple[bool, list[int]]:
    """Repair, say what became of each shard, and look at those that were repaired once more.

    Returns whether no damage is left, and the shards that were repaired.
    """
    says = console()
    with Meter("repair", "shard") as meter, stop_on_signals() as stop:
        results = repair_dataset(
            dataset, shards, checkpoint=checkpoint, device=device, stop=stop, progress=meter.to
        )
    repaired = [each.shard_index for each in results if isinstance(each, Repaired)]
    for each in results:
        if not isinstance(each, Repaired):
            click.echo(printable(f"shard {each.shard_index}: not repaired: {each.why}"), err=True)
            continue
        note = ""
        if each.is_same is False:
            note = "; the bytes are not those that it had: made by other hardware or libraries"
        elif each.is_same is None:
            note = "; nothing is left to tell whether the bytes are those that it had"
        says.say(f"shard {each.shard_index}: repaired: {each.how}{note}")
    left = verify(dataset, shards=repaired) if repaired else []
    for problem in (*left, *elsewhere):
        click.echo(printable(str(problem)), err=True)
    wrong = len(results) - len(repaired) + len({problem.shard_index for problem in left})
    says.say(
        f"{dataset}: {count(len(repaired), 'shard')} repaired, "
        f"{count(wrong, 'is', 'are')} damaged still"
    )
    return not wrong and not elsewhere, repaired
