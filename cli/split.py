"""`sa-engine split`: a dataset becomes two, by image content."""

from pathlib import Path

import click

from sa_engine.cli.shared.command import GroupedCommand
from sa_engine.cli.shared.console import console
from sa_engine.cli.shared.places import PLACE
from sa_engine.cli.shared.progress import Meter, count
from sa_engine.dataset.combine import split
from sa_engine.dataset.folder.place import is_url
from sa_engine.errors import UsageError


@click.command("split", cls=GroupedCommand, epilog="Example:  sa-engine split dataset/ --val 0.1")
@click.argument("dataset", type=PLACE)
@click.option(
    "--val",
    "fraction",
    required=True,
    type=float,
    help="Share of the images that go to the second part, between 0 and 1.",
)
@click.option(
    "--out-train",
    type=PLACE,
    help="The first part's folder or URL.  [default: DATASET-train]",
)
@click.option(
    "--out-val",
    type=PLACE,
    help="The second part's folder or URL.  [default: DATASET-val]",
)
def command(
    dataset: Path | str,
    fraction: float,
    out_train: Path | str | None,
    out_val: Path | str | None,
) -> None:
    """Divide DATASET in two: one part to train on, one to validate with.

    Each image is drawn by its content, so the same image always falls on the same side, whatever
    else the dataset holds. The same command again continues an interrupted split.
    """
    train = out_train or _beside(dataset, "train")
    val = out_val or _beside(dataset, "val")
    # The first part's images are counted first, then the second's.
    with Meter("split") as meter:
        report = split(dataset, train, val, fraction=fraction, progress=meter.to)
    console().say(f"{train}: {count(report.num_train, 'image')}")
    console().say(f"{val}: {count(report.num_val, 'image')}")
    console().result(
        {
            "train": {"out": str(train), "images": report.num_train},
            "val": {"out": str(val), "images": report.num_val},
        }
    )


def _beside(dataset: Path | str, part: str) -> Path | str:
    """The place of a part beside its whole."""
    if is_url(dataset):
        return f"{str(dataset).rstrip('/')}-{part}"
    base = Path(dataset).absolute()
    if not base.name:
        raise UsageError(f"{dataset} has no name: say where to with --out-train and --out-val")
    return base.with_name(f"{base.name}-{part}")
