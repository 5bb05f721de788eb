"""`sa-engine import`: other tools' annotations in, a dataset out."""

from pathlib import Path
from typing import Any

import click

from sa_engine.cli.shared.console import console
from sa_engine.cli.shared.options import (
    GroupedCommand,
    keeping_options,
    model_options,
    out_option,
    run_options,
    take,
)
from sa_engine.cli.shared.places import LOCAL_PATH, PLACE
from sa_engine.cli.shared.progress import RunBar, count, duration
from sa_engine.cli.shared.reasons import say_reasons
from sa_engine.cli.shared.run_summary import as_record, report_run
from sa_engine.cli.shared.workers import take_workers
from sa_engine.dataset.verify import REPORT_NAME
from sa_engine.errors import ExitStatus
from sa_engine.formats.registry import Format
from sa_engine.pipelines.run.worker import Reading
from sa_engine.pipelines.stages.manual import ImportPlan, ImportRun, run_import

AUTO = "auto"

NAMED_IMAGES = 20
"""Images whose corrections are said one by one; the report names them all."""


@click.command(
    "import",
    cls=GroupedCommand,
    epilog="Example:  sa-engine import instances.json --images photographs/ --out dataset/",
)
@click.argument("source", type=LOCAL_PATH)
@click.option(
    "--images",
    help="The pictures: a folder (searched through), a glob, a text list or a tar.  "
    "[default: where the format has them]",
)
@out_option
@click.option(
    "--format",
    "kind",
    type=click.Choice([AUTO, *(each.value for each in Format)]),
    default=AUTO,
    show_default=True,
    help="The annotations' format; auto finds it from the files.",
)
@click.option(
    "--proposals",
    type=PLACE,
    help="The dataset whose export SOURCE is, corrected by people (stage 2): says what was kept, "
    "edited, deleted and added.",
)
@click.option(
    "--masks-from-boxes",
    is_flag=True,
    help="Let the model segment boxes that have no mask; they are counted otherwise.",
)
@model_options
@keeping_options
@run_options
def command(
    source: Path,
    images: str | None,
    out: Path | str,
    kind: str,
    proposals: Path | str | None,
    masks_from_boxes: bool,
    **options: Any,
) -> int:
    """Turn the masks in SOURCE into a dataset (stage 1, or 2 with --proposals).

    SOURCE is an annotation file or folder of COCO, LVIS, SA-1B, labelme, CVAT, Label Studio, YOLO
    segmentation, PNG instance maps, PASCAL VOC, DAVIS, Datumaro or BSDS. What has to be repaired or
    cannot be taken is counted by reason, here and in the dataset's import-report.json, with names.
    The same command again continues an interrupted run.

    Exit status: 0 all done; 1 annotations that cannot be read, or another engine error; 2 usage;
    3 done, but some images failed, or no mask and no box could be read; 5 done, but images that the
    annotations name, or whole files of annotations, are missing; 130 interrupted, to be continued.
    """
    workers, failed_ok = take_workers(options), options.pop("failed_images_ok")
    run = ImportRun(
        annotations=source,
        out=out,
        images=images,
        format=None if kind == AUTO else Format(kind),
        proposals=proposals,
        masks_from_boxes=masks_from_boxes,
        reading=Reading(**take(options, ["max_pixels", "keep_images"])),
        workers=workers,
        **options,
    )
    with RunBar("import") as bar:
        summary = run_import(run, progress=bar, announce=_say_plan)
    status = report_run(summary.run, failed_ok=failed_ok)
    report = summary.report
    console().result({**as_record(summary.run), "format": summary.format, "report": report})
    if report is None:
        return status
    masks, boxes = report["masks"], report["boxes"]
    line = f"{count(masks['kept'], 'mask')} kept"
    if boxes["segmented"]:
        line += f", {boxes['segmented']} of them made from boxes"
    console().say(line)
    say_reasons("repaired", "annotation", masks["repaired"])
    say_reasons("dropped", "annotation", masks["dropped"])
    say_reasons("images", "image", report["images"]["notes"])
    say_reasons("beside the masks", "item", report["beside"])
    if boxes["without_masks"]:
        said = count(boxes["without_masks"], "box has", "boxes have")
        console().say(f"{said} no mask: add --masks-from-boxes to let the model segment them")
    if "proposals" in report:
        _say_proposals(report["proposals"])
    if masks["repaired"] or masks["dropped"] or report["images"]["notes"]:
        console().say(f"named in {out}/{REPORT_NAME}")
    if _read_nothing(report):
        console().say("no mask and no box could be read")
        return status or ExitStatus.SOME_FAILED
    return status or (ExitStatus.INCOMPLETE if _is_incomplete(report) else status)


def _say_plan(plan: ImportPlan) -> None:
    """What was found, where, and how many: said before anything is made of it."""
    console().say(
        f"found {plan.format.value} in {plan.annotations}: annotations of "
        f"{count(plan.num_annotated, 'image')}; {plan.num_images} of the "
        f"{count(plan.num_pictures, 'picture')} in {plan.pictures} will be imported"
    )


def _is_incomplete(report: Any) -> bool:
    """Whether whole images, or whole files of annotations, are missing."""
    notes = report["images"]["notes"]
    reasons = ("image-file-missing", "image-file-ambiguous", "image-file-shared", "never-exported")
    return any(reason in notes for reason in reasons) or "bad-file" in report["masks"]["dropped"]


def _read_nothing(report: Any) -> bool:
    """Whether there was something to read, and no mask and no box came of it."""
    if report["masks"]["kept"] or report["boxes"]["without_masks"]:
        return False
    return bool(report["masks"]["dropped"] or report["beside"])


def _say_proposals(report: Any) -> None:
    """The proposals' figures in all, then a line for each of the first images."""
    images = report["images"]
    edited = f"{report['edited']} edited"
    if report["edited_mean_iou"] is not None:
        edited += f" (mean IoU {report['edited_mean_iou']:.2f})"
    console().say(
        f"proposals: {report['shown']} on {count(images['returned'], 'image')}: "
        f"{report['kept']} kept, {edited}, {report['deleted']} deleted; "
        f"{count(report['added'], 'mask')} added"
    )
    if report["shown"]:
        line = f"  precision {report['precision']:.2f} ({report['precision_unchanged']:.2f} as is)"
        if report["share_not_drawn"] is not None:
            line += f"; {report['share_not_drawn']:.0%} of the masks did not have to be drawn"
        console().say(line)
    if report["seconds"] is not None:
        line = f"  {duration(report['seconds'])} on {count(images['timed'], 'image')}"
        if report["seconds_per_mask"] is not None:
            line += f", {report['seconds_per_mask']:.1f} s a mask"
        console().say(line)
    if images["not_returned"]:
        console().say(f"  {images['not_returned']} exported images did not come back")
    for image in report["by_image"][:NAMED_IMAGES]:
        console().say(f"  {image['image']}: {_image_line(image)}")
    left = len(report["by_image"]) - NAMED_IMAGES
    if left > 0:
        console().say(f"  and {left} more images: see {REPORT_NAME}")


def _image_line(image: Any) -> str:
    edited = f"{len(image['edited'])} edited"
    if image["edited"]:
        edited += " (IoU " + ", ".join(f"{edit['iou']:.2f}" for edit in image["edited"]) + ")"
    parts = [f"{len(image['kept'])} kept", edited, f"{len(image['deleted'])} deleted"]
    parts.append(f"{image['added']} added")
    if image["seconds"] is not None:
        parts.append(duration(image["seconds"]))
    return ", ".join(parts)
