"""`sa-engine verify`: every byte, mask and count of a dataset."""

import sys
from pathlib import Path

import click
from tqdm import tqdm

from sa_engine.dataset.verify import damaged_shards, verify

_SHOWN = 100


@click.command("verify", epilog="Example:  sa-engine verify dataset/")
@click.argument("dataset", type=click.Path(path_type=Path))
@click.option("--quick", is_flag=True, help="Check checksums and counts alone, decode nothing.")
def command(dataset: Path, quick: bool) -> int:
    """Check DATASET: checksums, schema, that masks decode, boxes, areas, ids and counts.

    Exit status: 0 if all is well; 1 with a list of what is not; 2 if there is no dataset.
    """
    with tqdm(desc="verify", unit="shard", disable=not sys.stderr.isatty()) as bar:

        def advance(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        problems = verify(dataset, deep=not quick, progress=advance)
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
    return 1
