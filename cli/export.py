"""`sa-engine export`: a dataset in, another tool's format out."""

import sys
from pathlib import Path

import click
from tqdm import tqdm

from sa_engine.cli.shared.places import LOCAL_PATH, PLACE
from sa_engine.cli.shared.reasons import say_reasons
from sa_engine.dataset.records import Stage
from sa_engine.formats.writers.base_writer import Filter
from sa_engine.pipelines.export import ExportRun, OutFormat, run_export


@click.command(
    "export", epilog="Example:  sa-engine export dataset/ --format coco --out coco/ --min-area 100"
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
    with tqdm(desc="export", unit="img", disable=not sys.stderr.isatty()) as bar:

        def advance(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        summary = run_export(run, progress=advance)
    line = f"{out}: {kind}, {summary.num_images} images, {summary.num_masks} masks"
    if summary.num_left_out:
        line += f", {summary.num_left_out} left out by the filters"
    click.echo(line)
    say_reasons("not held by the format", "loss", summary.losses.to_json(), plural="losses")
