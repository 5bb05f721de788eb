"""`sa-engine split`: a dataset becomes two, by image content."""

import sys
from pathlib import Path

import click
from tqdm import tqdm

from sa_engine.dataset.combine import split
from sa_engine.errors import UsageError


@click.command("split", epilog="Example:  sa-engine split dataset/ --val 0.1")
@click.argument("dataset", type=click.Path(path_type=Path))
@click.option(
    "--val",
    "fraction",
    required=True,
    type=float,
    help="Share of the images that go to the second part, between 0 and 1.",
)
@click.option(
    "--out-train",
    type=click.Path(path_type=Path),
    help="The first part's folder.  [default: DATASET-train]",
)
@click.option(
    "--out-val",
    type=click.Path(path_type=Path),
    help="The second part's folder.  [default: DATASET-val]",
)
def command(dataset: Path, fraction: float, out_train: Path | None, out_val: Path | None) -> None:
    """Divide DATASET in two: one part to train on, one to validate with.

    Each image is drawn by its content, so the same image always falls on the same side, whatever
    else the dataset holds. The same command again continues an interrupted split.
    """
    base = dataset.absolute()
    if not base.name:
        raise UsageError(f"{dataset} has no name: say where to with --out-train and --out-val")
    train = out_train or base.with_name(f"{base.name}-train")
    val = out_val or base.with_name(f"{base.name}-val")
    with tqdm(desc="split", unit="img", disable=not sys.stderr.isatty()) as bar:

        def advance(done: int, total: int) -> None:
            # The first part's images are counted first, then the second's.
            bar.total = total
            bar.n = done
            bar.refresh()

        report = split(dataset, train, val, fraction=fraction, progress=advance)
    click.echo(f"{train}: {report.num_train} images")
    click.echo(f"{val}: {report.num_val} images")
