"""`sa-engine train pack`: datasets as one file for a machine that trains."""

from pathlib import Path

import click

from sa_engine.cli.shared.console import console
from sa_engine.cli.shared.options import GroupedCommand, all_of, option_names, options_from, take
from sa_engine.cli.shared.places import PLACE, OutFile
from sa_engine.cli.shared.printable import in_line
from sa_engine.cli.shared.progress import count
from sa_engine.cli.shared.weights import parse_weights
from sa_engine.errors import ExitStatus, UsageError
from sa_engine.training.data.pack import PackConfig, write_pack
from sa_engine.training.data.sets import open_sets


@click.command(
    cls=GroupedCommand,
    epilog="An example:  sa-engine train pack out/coco out/bsds500 --image-size 512 --quality 35 "
    "--weight coco=40 --out train.pack",
)
@click.argument("data", nargs=-1, required=True, type=PLACE)
@click.option("--out", required=True, type=OutFile(), help="The pack to write.")
@click.option(
    "--weight",
    "weight",
    multiple=True,
    metavar="NAME=NUMBER",
    help="How often a set, or the masks of a stage, are drawn in training that is not told "
    "otherwise, as coco=20.",
)
@all_of(options_from(PackConfig, "Images"))
def pack(data: tuple[Path | str, ...], out: Path, weight: tuple[str, ...], **options: int) -> int:
    """Write DATA, datasets or other packs, as one file that `train` takes as it takes them.

    Images are encoded again as WebP; the file is a tenth of the datasets or less, and a training
    that reads it has everything in memory from the first step on.
    """
    values = take(options, option_names(PackConfig))
    try:
        config = PackConfig(**{k: v for k, v in values.items() if v is not None})
    except ValueError as error:
        raise UsageError(str(error)) from error
    opened = open_sets(data, parse_weights(weight))
    stages = {stage.value: number for stage, number in opened.stages.items()}
    summary = write_pack(opened.sets, out, config=config, weights={**opened.weights, **stages})
    for name, images in summary.images.items():
        masks = count(summary.masks[name], "mask")
        console().say(f"{name}: {count(images, 'image')}, {masks}")
    console().say(f"{out}: {summary.num_bytes / 2**20:.1f} MiB")
    console().result({"out": out, "summary": summary})
    for source, reason in summary.failures:
        click.echo(f"  failed: {in_line(source)}: {in_line(reason)}", err=True)
    return ExitStatus.SOME_FAILED if summary.failures else ExitStatus.DONE
