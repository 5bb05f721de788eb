"""`sa-engine audit`: how good a dataset's masks are, by corrections and by ratings."""

import math
from pathlib import Path

import click

from sa_engine.cli.shared.command import SETTINGS, CommandGroup
from sa_engine.cli.shared.console import console
from sa_engine.cli.shared.places import LOCAL_PATH, PLACE, OutFile
from sa_engine.cli.shared.progress import Meter, count

FORMATS = ("coco", "cvat", "label-studio", "labelme")


@click.group(cls=CommandGroup, context_settings=SETTINGS)
def command() -> None:
    """Say how good masks are: people correct a sample of them, or rate them from 1 to 10."""


@command.command(epilog="Example:  sa-engine audit draw dataset/ --images 500 --out audit/")
@click.argument("dataset", type=PLACE)
@click.option("--out", required=True, type=LOCAL_PATH, help="A new folder for the audit.")
@click.option(
    "--images",
    type=click.IntRange(min=1),
    default=500,
    show_default=True,
    help="Images that are drawn; the paper had 500.",
)
@click.option("--seed", default=0, show_default=True, help="Of the draw.")
@click.option(
    "--format",
    "kind",
    type=click.Choice(FORMATS),
    default="coco",
    show_default=True,
    help="What the masks are corrected in.",
)
def draw(dataset: Path | str, out: Path, images: int, seed: int, kind: str) -> None:
    """Draw images of DATASET at random and export their masks to be corrected.

    OUT/to-correct holds the export, OUT/sample the drawn images as a dataset. People correct every
    mask, delete what is no object, and may add what was missed; then: `sa-engine audit read`.
    """
    from sa_engine.pipelines.audit import AuditDraw, draw_audit
    from sa_engine.pipelines.export import OutFormat

    run = AuditDraw(dataset=dataset, out=out, images=images, seed=seed, format=OutFormat(kind))
    with Meter("draw") as meter:
        drawn = draw_audit(run, progress=lambda done, total: meter.to(done, total))
    console().say(
        f"{drawn.to_correct}: {count(drawn.images, 'image')} of {drawn.total_images}, "
        f"{count(drawn.masks, 'mask')}; correct them, then: sa-engine audit read CORRECTED "
        f"--audit {out}"
    )
    console().result(drawn)


@command.command(
    resumes=False, epilog="Example:  sa-engine audit read corrected.json --audit audit/"
)
@click.argument("corrected", type=LOCAL_PATH)
@click.option("--audit", required=True, type=LOCAL_PATH, help="The folder of `audit draw`.")
@click.option(
    "--out",
    type=OutFile(".parquet", ".csv"),
    help="Also write a row for each mask to this file, .parquet or .csv.",
)
@click.option("--markdown", is_flag=True, help="Print Markdown tables.")
def read(corrected: Path, audit: Path, out: Path | None, markdown: bool) -> None:
    """Hold CORRECTED against the masks that went out.

    The share of pairs with an IoU over 0.9 and 0.75 (the paper: 94 % and 97 %), mean IoU and
    boundary IoU, with 95 % intervals, by stage, size and predicted IoU; masks that were deleted,
    and objects that were missed.
    """
    from sa_engine.evaluation.audit import AuditRow, audit_rows
    from sa_engine.evaluation.results import write_rows
    from sa_engine.evaluation.summary import Interval, layout
    from sa_engine.pipelines.audit import read_audit

    found = read_audit(corrected, audit)
    rows = audit_rows(found.masks)

    def cell(interval: Interval | None) -> str:
        if interval is None:
            return "–"
        if math.isnan(interval.low):
            return f"{interval.mean:.3f}"
        return f"{interval.mean:.3f} [{interval.low:.3f}, {interval.high:.3f}]"

    def line(row: AuditRow) -> list[str]:
        known = [row.kind, row.group, f"{row.masks:,}", f"{row.deleted:,}"]
        figures = (row.over_90, row.over_75, row.mean_iou, row.mean_boundary_iou)
        return [*known, *(cell(each) for each in (*figures, row.over_90_of_all))]

    titles = ["", "", "masks", "deleted", "over 0.9", "over 0.75", "mean IoU", "boundary IoU"]
    titles.append("over 0.9, deleted as wrong")
    console().say(layout(titles, [line(row) for row in rows], markdown=markdown))
    text = f"\n{count(found.images, 'image')}; {count(found.missed, 'mask')} added by people"
    if found.not_returned:
        text += f"; {count(found.not_returned, 'image')} of the sample did not come back"
    console().say(text)
    console().result({"rows": rows, "images": found.images, "missed": found.missed})
    if out is not None:
        write_rows(out, found.masks)


@command.command(
    resumes=False,
    epilog="Examples:  sa-engine audit rate dataset/ --out rating/;  "
    "sa-engine audit rate dataset/ anna.csv bert.csv",
)
@click.argument("dataset", type=PLACE)
@click.argument("ratings", nargs=-1, type=LOCAL_PATH)
@click.option("--out", type=LOCAL_PATH, help="Write the page for rating into this new folder.")
@click.option(
    "--masks",
    type=click.IntRange(min=1),
    default=200,
    show_default=True,
    help="Masks on the page, drawn at random.",
)
@click.option("--seed", default=0, show_default=True, help="Of the draw.")
def rate(
    dataset: Path | str, ratings: tuple[Path, ...], out: Path | None, masks: int, seed: int
) -> None:
    """Let people rate masks of DATASET from 1 to 10, or read what they said (RATINGS).

    With --out: a page that shows one mask after the other, with the guide; it needs no network, and
    gives a CSV file to each person. With RATINGS (mask_id, score, rater): how the people agree, and
    the mean score with its 95 % interval, by stage and by model.
    """
    from sa_engine.cli.audit_rating import report_ratings, write_page

    if ratings:
        report_ratings(dataset, ratings)
    elif out is not None:
        write_page(dataset, out, masks, seed)
    else:
        raise click.UsageError("give --out DIR to make a page, or the RATINGS that people made")
