"""`sa-engine semi`: photographs in, proposals for annotators out (stage 2)."""

from pathlib import Path
from typing import Any

import click

from sa_engine.automask.proposal_config import ProposalConfig
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
from sa_engine.cli.shared.places import PLACE, WEIGHTS
from sa_engine.cli.shared.progress import RunBar
from sa_engine.cli.shared.run_summary import report_prepared, report_run
from sa_engine.cli.shared.workers import take_executor, take_workers
from sa_engine.pipelines.run.worker import Reading

NOTHING_FOUND = (
    "no box led to a mask that the model was sure of; lower --box-score-thresh, --pred-iou-thresh "
    "or --stability-score-thresh (in a new --out), or give a detector trained on such images"
)


@click.command(
    "semi",
    cls=GroupedCommand,
    epilog="Example:  sa-engine semi photos/ --detector detector.safetensors --out proposals/",
)
@images_option
@out_option
@click.option(
    "--existing",
    type=PLACE,
    help="A dataset of masks that are there already: what repeats one of them is not proposed. "
    "Images are matched by content, then by name.",
)
@option(
    "--detector",
    group="Model",
    type=WEIGHTS,
    help="A detector's file, trained on the very model that is used here.  [default: the one that "
    "comes with the engine for this image encoder, if there is one]",
)
@model_options
@options_from(ProposalConfig, group="Proposals")
@storing_options
@prepare_option
@run_options
@executor_options
def command(out: Path | str, **options: Any) -> int:
    """Propose masks for people to correct: a detector's boxes prompt the model.

    Masks of well-scored boxes that the model is sure of (predicted IoU), that are stable and that
    repeat neither each other nor what --existing holds are written as a dataset of stage
    "semi-automatic". `sa-engine export` gives them to an annotation tool, prefilled. The same
    command again continues an interrupted run.

    Exit status: 0 all done; 1 engine error; 2 usage; 3 done, but some images failed; 130
    interrupted, to be continued.
    """
    # Here, so that --help does not wait for torch.
    from sa_engine.pipelines.stages.semi_automatic import (
        SemiAutomaticRun,
        prepare_semi_automatic,
        run_semi_automatic,
    )

    images = take_images(options)
    chosen = take(options, option_names(ProposalConfig))
    workers, failed_ok = take_workers(options), options.pop("failed_images_ok")
    prepare, execute = options.pop("prepare"), take_executor(options)
    run = SemiAutomaticRun(
        images=images,
        out=out,
        proposal_options={name: value for name, value in chosen.items() if value is not None},
        reading=Reading(**take(options, ["max_pixels", "shortest_side", "keep_images"])),
        workers=workers,
        **options,
    )
    if prepare:
        prepare_semi_automatic(run)
        return report_prepared(out)
    with RunBar("semi") as bar:
        summary = run_semi_automatic(run, progress=bar, execute=execute)
    return report_run(summary, failed_ok=failed_ok, nothing_found=NOTHING_FOUND, beside={})
