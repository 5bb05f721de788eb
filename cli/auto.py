"""`sa-engine auto`: photographs in, an SA-1B-style dataset out."""

from pathlib import Path
from typing import Any

import click

from sa_engine.automask.config import PRESETS, GeneratorConfig
from sa_engine.cli.shared.options import (
    GroupedCommand,
    executor_options,
    images_option,
    model_options,
    option,
    option_names,
    options_from,
    out_option,
    prepare_option,
    run_options,
    storing_options,
    take,
    take_images,
)
from sa_engine.cli.shared.progress import RunBar
from sa_engine.cli.shared.run_summary import report_prepared, report_run
from sa_engine.cli.shared.workers import take_executor, take_workers
from sa_engine.pipelines.run.worker import Reading

NOTHING_FOUND = (
    "the model was sure of none; lower --pred-iou-thresh or --stability-score-thresh (in a new "
    "--out), leave out --preset reference, or give another model; `sa-engine model show` tells the "
    "thresholds that suit a model"
)


@click.command(
    "auto",
    cls=GroupedCommand,
    epilog="Example:  sa-engine auto photos/ --out dataset/ --preset sa-1b",
)
@images_option
@out_option
@option(
    "--preset",
    group="Masks",
    type=click.Choice(list(PRESETS)),
    default="default",
    show_default=True,
    help="default: a 32x32 grid on the whole image, thresholds as the model's card recommends. "
    "reference: the same with the published thresholds. sa-1b: also 2x2 and 4x4 zoomed crops, "
    "regions under 100 px cleaned away, masks over 95 % of the image dropped. "
    "Options below go over the preset.",
)
@options_from(GeneratorConfig, group="Masks")
@option(
    "--image-size",
    group="Model",
    type=click.IntRange(min=16),
    help="Side of the model's input, pixels: small is quick, large sees small things.  "
    "[default: the weights' own]",
)
@model_options
@storing_options
@prepare_option
@run_options
@executor_options
def command(out: Path | str, preset: str, **options: Any) -> int:
    """Make masks for a folder of photographs, without people.

    \b
    sa-engine auto photos/ --out dataset/

    A grid of points on the whole image, and on zoomed crops of it, asks the model for masks; those
    that it is sure of (predicted IoU) and that are stable are kept, duplicates are dropped, and
    images and masks are written as shards in SA-1B's schema. The same command again continues an
    interrupted run.

    Exit status: 0 all done; 1 engine error; 2 usage; 3 done, but some images failed; 130
    interrupted, to be continued.
    """
    # Here, so that --help does not wait for torch.
    from sa_engine.pipelines.stages.automatic import AutomaticRun, prepare_automatic, run_automatic

    images = take_images(options)
    chosen = take(options, option_names(GeneratorConfig))
    workers, failed_ok = take_workers(options), options.pop("failed_images_ok")
    prepare, execute = options.pop("prepare"), take_executor(options)
    run = AutomaticRun(
        images=images,
        out=out,
        preset=preset,
        generator_options={name: value for name, value in chosen.items() if value is not None},
        reading=Reading(**take(options, ["max_pixels", "shortest_side", "keep_images"])),
        workers=workers,
        **options,
    )
    if prepare:
        prepare_automatic(run)
        return report_prepared(out)
    with RunBar("auto") as bar:
        summary = run_automatic(run, progress=bar, execute=execute)
    return report_run(summary, failed_ok=failed_ok, nothing_found=NOTHING_FOUND, beside={})
