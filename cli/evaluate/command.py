"""`sa-engine evaluate`: measure a model on datasets.

What a command does lies in a module of its own, which is imported when it is called: --help is not
to wait for torch.
"""

from typing import Any

import click

from sa_engine.cli.shared.command import SETTINGS, CommandGroup
from sa_engine.cli.shared.options import all_of, model_options
from sa_engine.cli.shared.places import LOCAL_PATH, PLACE, WEIGHTS, OutFile, refuse_existing
from sa_engine.evaluation.clicks import FirstPoint

METHODS = ("model", "region-growing", "grabcut")
"""Who can click: see `points.measure_points`."""

set_options = all_of(
    click.argument("datasets", nargs=-1, required=True, type=PLACE),
    model_options,
    click.option(
        "--image-size",
        type=click.IntRange(min=16),
        help="Side of the model's input, pixels.  [default: the weights' own]",
    ),
    click.option(
        "--limit",
        "--max-images",
        "max_images",
        type=click.IntRange(min=1),
        help="Only so many images of a set, evenly spaced.",
    ),
    click.option(
        "--out",
        type=OutFile(".parquet", ".csv"),
        help="Also write a row for each mask to this file, .parquet or .csv.",
    ),
    click.option("--force", is_flag=True, help="Replace the file of --out if it is there."),
    click.option("--markdown", is_flag=True, help="Print Markdown tables."),
)


@click.group(cls=CommandGroup, context_settings=SETTINGS)
def command() -> None:
    """Measure models on datasets."""


@command.command(
    resumes=False, epilog="An example:  sa-engine evaluate points out/lvis --points 1,3 --limit 20"
)
@set_options
@click.option(
    "--points", default="1,2,3,5,9", show_default=True, help="Numbers of clicks to score after."
)
@click.option(
    "--first-point",
    type=click.Choice([f.value for f in FirstPoint]),
    default=FirstPoint.CENTRE.value,
    show_default=True,
    help="The first click: the mask's innermost pixel, or a random one.",
)
@click.option("--boxes", is_flag=True, help="Score the masks' boxes as prompts, too.")
@click.option(
    "--method",
    "methods",
    multiple=True,
    type=click.Choice(METHODS),
    help="Who plays: the model, and baselines that learned nothing, under the same protocol; may "
    "be given several times.  [default: all]",
)
@click.option("--max-masks", type=click.IntRange(min=1), help="Masks of an image, drawn at random.")
@click.option("--seed", default=0, show_default=True, help="Of every random choice.")
@click.option(
    "--groups",
    "groups_file",
    type=LOCAL_PATH,
    help="A CSV, TSV or Parquet table of groups (a column mask_id, annotation_id, image_id or "
    "file_name, and one for each grouping): mean IoU by group, and which differ.",
)
def points(**options: Any) -> None:
    """Click on every mask as an annotator would and score what comes back.

    Mean IoU of the model's own choice and of the best of its masks (oracle), by set and over sets,
    with 95 % bootstrap intervals, and how well predicted IoU tells the true one.
    """
    from sa_engine.cli.evaluate.points import measure_points

    refuse_existing(options["out"], force=options.pop("force"))
    measure_points(**options)


@command.command(
    "table",
    resumes=False,
    epilog="An example:  sa-engine evaluate table rows.parquet other.parquet",
)
@click.argument("files", nargs=-1, required=True, type=LOCAL_PATH)
@click.option("--markdown", is_flag=True, help="Print Markdown tables.")
@click.option(
    "--record",
    type=LOCAL_PATH,
    help="A weights file: write the figures of its model, named as the file, into its card.",
)
def table_(**options: Any) -> None:
    """Print the tables of FILES that `evaluate points --out` wrote, put together."""
    from sa_engine.cli.evaluate.points import print_tables

    print_tables(**options)


@command.command(
    resumes=False, epilog="An example:  sa-engine evaluate proposals out/lvis --limit 20"
)
@set_options
@click.option(
    "--points-per-side",
    "--grid",
    "points_per_side",
    default=32,
    show_default=True,
    help="The paper's evaluation has 64.",
)
def proposals(**options: Any) -> None:
    """Make all masks of every image and count how many of the known ones are among them.

    Average recall over IoU 0.5 to 0.95 with the first 100 and 1000 masks of an image, as the paper
    ranks them; by size as COCO does.
    """
    from sa_engine.cli.evaluate.proposals import measure_proposals

    refuse_existing(options["out"], force=options.pop("force"))
    measure_proposals(**options)


@command.command(
    resumes=False,
    epilog="An example:  sa-engine evaluate boxes out/lvis --detector out/detector.safetensors",
)
@set_options
@click.option(
    "--detector",
    type=WEIGHTS,
    help="A detector's file.  [default: the one that comes with the model, if there is one]",
)
@click.option(
    "--points-per-side",
    "--grid",
    "grid",
    type=click.IntRange(min=1),
    help="Measure beside it the boxes of the masks that a grid of so many points a side gives; "
    "the paper's has 32.",
)
@click.option(
    "--nms-thresh",
    type=click.FloatRange(0, 1),
    default=0.6,
    show_default=True,
    help="Of two boxes with an IoU above this the one with the lower score goes.",
)
def boxes(**options: Any) -> None:
    """Find boxes in every image and count how many of the known objects are among them.

    Average recall over IoU 0.5 to 0.95 with the first 10, 100 and 1000 boxes of an image, average
    precision at IoU 0.5, and both by size, as COCO counts them, all categories as one.
    """
    from sa_engine.cli.evaluate.boxes import measure_boxes

    refuse_existing(options["out"], force=options.pop("force"))
    measure_boxes(**options)


@command.command(
    resumes=False, epilog="An example:  sa-engine evaluate edges out/bsds500 --limit 20"
)
@set_options
@click.option(
    "--points-per-side",
    "--grid",
    "points_per_side",
    type=click.IntRange(min=1),
    default=16,
    show_default=True,
    help="Of the grid, as the paper's: three masks for each point.",
)
@click.option(
    "--thresholds",
    "num_thresholds",
    type=click.IntRange(min=1),
    default=99,
    show_default=True,
    help="Of the edge map, evenly spaced; the benchmark has 99.",
)
def edges(**options: Any) -> None:
    """Find edges and score them as BSDS500's benchmark does: ODS, OIS, AP and R50.

    For sets of whole partitions, as `sa-engine import groundTruth/ --format bsds` makes of BSDS500.
    Detected pixels are matched with each person's boundaries one to one, at the lowest cost, within
    0.0075 of the image's diagonal. Needs scipy: pip install 'sa-engine[edges]'.
    """
    from sa_engine.cli.evaluate.edges import measure_edges

    refuse_existing(options["out"], force=options.pop("force"))
    measure_edges(**options)


@command.command(
    resumes=False,
    epilog="An example:  sa-engine evaluate instances out/lvis --boxes detections.json",
)
@set_options
@click.option(
    "--boxes",
    "boxes_file",
    type=LOCAL_PATH,
    help="COCO's results format: image_id, category_id, bbox, score; image ids are those of the "
    "annotations that were imported.  [default: the known boxes themselves]",
)
def instances(**options: Any) -> None:
    """Segment the objects in given boxes: mask AP and boundary AP, as COCO counts them.

    Sets that were imported from LVIS are counted as it demands: a category counts only in images
    where it was looked for, and where it was not looked for in full, nothing too much is wrong.
    """
    from sa_engine.cli.evaluate.instances import measure_instances

    refuse_existing(options["out"], force=options.pop("force"))
    measure_instances(**options)


@command.command(
    resumes=False,
    epilog="Example:  sa-engine evaluate thresholds bsds500/ --checkpoint mine.safetensors --write",
)
@set_options
@click.option(
    "--points-per-side",
    "--grid",
    "points_per_side",
    default=32,
    show_default=True,
    help="Of the grid, as everything mode's.",
)
@click.option(
    "--match-iou",
    type=click.FloatRange(0.1, 1),
    default=0.5,
    show_default=True,
    help="From this IoU with a known mask a mask is right.",
)
@click.option(
    "--mask-nms-thresh",
    type=click.FloatRange(0, 1, min_open=True),
    help="With --write: recommend this, too, for the NMS by the masks themselves, which "
    "comes last in everything mode.  [default: what the card has]",
)
@click.option(
    "--write",
    "write_card",
    is_flag=True,
    help="Write the recommended thresholds into the card of the --checkpoint file.",
)
def thresholds(**options: Any) -> None:
    """Find the thresholds of predicted IoU and stability that suit a model.

    Makes all masks of the grid once, then tries every pair of thresholds on them; recommends the
    best F-score (beta 0.5) of "is a known object" and "known objects found". Best on images whose
    known masks leave nothing out, and that are not those of the evaluation.
    """
    from sa_engine.cli.evaluate.thresholds import find_thresholds

    refuse_existing(options["out"], force=options.pop("force"))
    find_thresholds(**options)
