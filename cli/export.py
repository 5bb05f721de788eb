"""`sa-engine export`: a dataset in, another tool's format out."""

from pathlib import Path

import click

from sa_engine.cli.shared.command import GroupedCommand
from sa_engine.cli.shared.console import console
from sa_engine.cli.shared.places import LOCAL_PATH, PLACE
from sa_engine.cli.shared.progress import Meter, count
from sa_engine.cli.shared.reasons import say_reasons
from sa_engine.dataset.records import Stage
from sa_engine.formats.reasons import Lossy
from sa_engine.formats.writers.base_writer import Filter
from sa_engine.pipelines.export import ExportRun, OutFormat, run_export


@click.command(
    "export",
    cls=GroupedCommand,
    resumes=False,
    epilog="Example:  sa-engine export dataset/ --format coco --out coco/ --min-area 100",
)
@click.argument("dataset", type=PLACE)
@click.option(
    "--format",
    "kind",
    required=True,
    type=click.Choice([each.value for each in OutFormat]),
    help="The format to write.",
)
@click.option(
    "--out",
    required=True,
    type=LOCAL_PATH,
    help="A new folder; for coco also a new .json file, for the annotations alone.",
)
@click.option(
    "--min-area",
    "--min-mask-area",
    "min_area",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Leave out masks of fewer pixels.",
)
@click.option(
    "--min-iou",
    type=click.FloatRange(0, 1),
    default=0.0,
    show_default=True,
    help="Leave out masks of a lower predicted IoU; masks of people have none and stay.",
)
@click.option(
    "--stage",
    "stages",
    multiple=True,
    type=click.Choice([each.value for each in Stage]),
    help="Only masks of this stage; can be given several times.  [default: all]",
)
@click.option("--no-images", is_flag=True, help="Write annotations alone.")
@click.option(
    "--polygons",
    is_flag=True,
    help="coco: write masks without holes as polygons along their pixels' edges.",
)
def command(
    dataset: Path | str,
    kind: str,
    out: Path,
    min_area: int,
    min_iou: float,
    stages: tuple[str, ...],
    no_images: bool,
    polygons: bool,
) -> None:
    """Write DATASET in another tool's format.

    Masks stay whole wherever the format can hold them: RLE stays RLE and holes stay holes. Where it
    cannot, the summary says how many masks lost what.
    """
    run = ExportRun(
        dataset=dataset,
        out=out,
        format=OutFormat(kind),
        filter=Filter(
            min_area=min_area, min_iou=min_iou, stages=frozenset(Stage(each) for each in stages)
        ),
        with_images=not no_images,
        polygons=polygons,
    )
    with Meter("export") as meter:
        summary = run_export(run, progress=meter.to)
    images, masks = count(summary.num_images, "image"), count(summary.num_masks, "mask")
    line = f"{out}: {kind}, {images}, {masks}"
    if summary.num_left_out:
        line += f", {summary.num_left_out} left out by the filters"
    console().say(line)
    losses = summary.losses.to_json()
    lost = {reason: entry for reason, entry in losses.items() if reason != Lossy.CATEGORY_ADDED}
    say_reasons("not held by the format", "loss", lost, plural="losses")
    if Lossy.CATEGORY_ADDED in losses:
        unnamed = losses[Lossy.CATEGORY_ADDED]["count"]
        said = count(unnamed, "mask or box has", "masks or boxes have")
        console().say(f"{said} no category and got the name 'object', as the format wants one")
    console().result(
        {
            "out": str(out),
            "format": kind,
            "images": summary.num_images,
            "masks": summary.num_masks,
            "left_out": summary.num_left_out,
            "losses": losses,
        }
    )
