"""`sa-engine annotate`: people's masks, in a browser (stages 1 and 2)."""

import getpass
import json
import sys
import webbrowser
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from sa_engine.annotate.guard import LOOPBACK
from sa_engine.annotate.order import Order
from sa_engine.cli.shared.console import console
from sa_engine.cli.shared.options import (
    GroupedCommand,
    images_option,
    keeping_options,
    model_options,
    option,
    take,
    take_images,
)
from sa_engine.cli.shared.places import LOCAL_PATH, PLACE
from sa_engine.cli.shared.progress import Meter, RunBar
from sa_engine.cli.shared.run_summary import report_run
from sa_engine.dataset.folder.place import is_url
from sa_engine.errors import UsageError
from sa_engine.evaluation.audit import PAPER
from sa_engine.formats.work.settings import Mode, WorkSettings, read_settings
from sa_engine.pipelines.annotating import (
    AUDIT_NAME,
    AnnotateRun,
    Serving,
    plan_settings,
    run_annotate,
)
from sa_engine.pipelines.run.worker import Reading

_SERVING = (
    "host",
    "port",
    "public_url",
    "new_links",
    "hint_seconds",
    "threads",
    "cache_gb",
    "device",
    "precision",
    "follow_model",
    "accept_damage",
    "prepare",
)


@click.command(
    "annotate",
    cls=GroupedCommand,
    epilog="Example:  sa-engine annotate photos/ --out dataset/",
)
@images_option
@click.option("--out", type=PLACE, help="The dataset to be made once every image is answered.")
@click.option(
    "--work",
    type=LOCAL_PATH,
    help="The folder of people's answers; given alone, it is continued.  [default: OUT.annotate]",
)
@click.option(
    "--proposals", type=PLACE, help="A dataset that the images come prefilled with (stage 2)."
)
@click.option(
    "--existing", type=PLACE, help="A dataset whose masks are shown, locked, and not in the result."
)
@click.option(
    "--audit",
    type=PLACE,
    help="Instead of --images: a dataset whose masks people correct one by one; how far they agree "
    "is in WORK/audit.json.",
)
@click.option("--finish", is_flag=True, help="Serve nothing: make the dataset of what is answered.")
@model_options
@option(
    "--no-model",
    "with_model",
    group="Model",
    is_flag=True,
    flag_value=False,
    default=True,
    help="Brush and eraser only.",
)
@option(
    "--follow-model",
    group="Model",
    type=LOCAL_PATH,
    help="A weights file that is loaded again whenever it changes; an image keeps its model.",
)
@option(
    "--threads",
    group="Model",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Threads of the decoder that answers clicks.",
)
@option(
    "--cache-gb",
    group="Model",
    type=click.FloatRange(min=0),
    default=8.0,
    show_default=True,
    help="Embeddings kept on disk; the oldest go first.",
)
@option(
    "--prepare",
    group="Model",
    is_flag=True,
    help="Encode all images before the links are printed, so that nobody waits for a slow model.",
)
@option(
    "--annotator",
    "annotators",
    group="People",
    multiple=True,
    metavar="NAME",
    help="Whoever gets a link; may be given several times.  [default: the login name]",
)
@option("--new-links", group="People", is_flag=True, help="Forget the links of before.")
@option(
    "--order",
    group="People",
    type=click.Choice([each.value for each in Order]),
    default=Order.LISTED.value,
    show_default=True,
    help="How the next image is chosen.",
)
@option(
    "--sample",
    group="People",
    type=click.IntRange(min=1),
    help="Only so many images, drawn at random.",
)
@option("--seed", group="People", type=int, default=0, show_default=True, help="Of what is drawn.")
@option(
    "--hint-seconds",
    group="People",
    type=click.FloatRange(min=0),
    default=30.0,
    show_default=True,
    help="When the page says to go on to the next image; 0 never.",
)
@option(
    "--min-area",
    group="People",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Smallest mask that may be finished, pixels.",
)
@option(
    "--host",
    group="Server",
    default="127.0.0.1",
    show_default=True,
    help="Where to listen; others than this machine reach it only at another address.",
)
@option(
    "--port",
    group="Server",
    type=click.IntRange(0, 65535),
    default=8765,
    show_default=True,
    help="0 takes a free one.",
)
@option("--public-url", group="Server", help="The address that browsers use, behind a proxy.")
@option(
    "--open/--no-open",
    "open_browser",
    group="Server",
    default=None,
    help="Start the browser.  [default: on a terminal]",
)
@option(
    "--accept-damage",
    group="Server",
    is_flag=True,
    help="Go on without the lines of the journal that are damaged.",
)
@keeping_options
@option(
    "--limit",
    group="Storing",
    type=click.IntRange(min=1),
    help="Only the first so many images of the sorted list.",
)
def command(
    out: Path | str | None,
    work: Path | None,
    audit: Path | str | None,
    finish: bool,
    **options: Any,
) -> int:
    """Label masks in a browser: clicks answered by the model, boxes, brush and eraser.

    Prints a link for each annotator and serves until every image is answered; then the dataset is
    made. Whatever is acknowledged lies in --work, an append-only journal: the same command
    continues after any kill, and `sa-engine import WORK` makes a dataset at any time.

    Exit status: 0 all done; 1 engine error; 2 usage; 3 done, but some images failed; 130
    interrupted, to be continued.
    """
    images = _images(options)
    annotators = options.pop("annotators")
    open_browser = options.pop("open_browser")
    serving = Serving(**take(options, _SERVING), annotators=annotators or (_login(),))
    if serving.prepare and not options["with_model"]:
        raise UsageError("--prepare encodes images for the model: leave out --no-model")
    settings = _settings(images, out, work, audit, options)
    if settings is None:
        assert work is not None
        settings_there = read_settings(work)
        run = AnnotateRun(work=work, settings=None, serving=serving, finish=finish)
        place = settings_there.out
    else:
        folder = work or Path(f"{str(settings.out).rstrip('/')}.annotate")
        run = AnnotateRun(work=folder, settings=settings, serving=serving, finish=finish)
        place = settings.out
    if serving.host not in LOOPBACK:
        _warn(serving)
    line = _StatusLine()

    def announce(links: Sequence[tuple[str, str]]) -> None:
        for name, link in links:
            click.echo(f"{name}: {link}")
        wanted = sys.stdout.isatty() if open_browser is None else open_browser
        if wanted and links:
            webbrowser.open(links[0][1])

    with RunBar("import") as bar, Meter("encode") as meter:

        def encoded(done: int, total: int) -> None:
            meter.to(done, total)
            if done == total:
                meter.close()

        summary = run_annotate(
            run,
            announce=announce,
            say=line.say,
            encoded=encoded,
            note=console().note,
            progress=bar,
        )
    line.end()
    status = report_run(summary.run, beside={})
    _say_audit(run.work)
    console().say(f"Look at it with: sa-engine show {place} --out {place}-pictures")
    return status


def _images(options: dict[str, Any]) -> str | None:
    """The images, if any are given: WORK has them where it is continued, an audit's are its own."""
    if not options["photos"] and options["images"] is None:
        del options["photos"], options["images"]
        return None
    images = take_images(options)
    if isinstance(images, str):
        return images
    if len(images) > 1:
        raise UsageError(
            f"{len(images)} paths are given, but WORK must find its images again: name their "
            "folder, a quoted pattern or a text list"
        )
    return images[0]


def _settings(
    images: str | None,
    out: Path | str | None,
    work: Path | None,
    audit: Path | str | None,
    options: dict[str, Any],
) -> WorkSettings | None:
    """None to continue what is in WORK."""
    reading = Reading(**take(options, ["max_pixels", "keep_images"]))
    if images is None and out is None and audit is None and work is not None:
        return None
    if out is None:
        raise UsageError("say where the dataset goes with --out, or continue with --work alone")
    if is_url(out) and work is None:
        raise UsageError("people's work lies on a local disk: name its folder with --work")
    if audit is not None:
        if images is not None or options["proposals"] is not None:
            raise UsageError("--audit takes images and masks of its dataset: leave --images out")
        options["proposals"] = audit
    mode = Mode.ANNOTATE if audit is None else Mode.AUDIT
    return plan_settings(mode=mode, images=images, out=out, reading=reading, **options)


def _say_audit(work: Path) -> None:
    """An audit's two figures, if it was one."""
    path = work / AUDIT_NAME
    if path.is_file():
        report = json.loads(path.read_text("ascii"))
        objects = report["masks"] - report["deleted"]
        for name, paper in PAPER.items():
            said = report["rows"][0][name] if report["rows"] else None
            if said is not None:
                line = f"IoU {name.replace('_', ' 0.')}: {said['mean']:.1%} of {objects} masks "
                if said["low"] is not None:
                    line += f"({said['low']:.1%} to {said['high']:.1%}) "
                console().say(f"{line}(the paper: {paper:.0%})")
        console().say(f"all figures: {path}")


def _login() -> str:
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        name = "annotator"
    return "".join(each if each.isalnum() and each.isascii() else "-" for each in name)[:64]


def _warn(serving: Serving) -> None:
    click.echo(
        f"Warning: {serving.host} is reached by others, and plain HTTP shows them links and work. "
        f"Safer: leave --host alone and let people use  ssh -L {serving.port}:127.0.0.1:"
        f"{serving.port} <this machine>  or a TLS proxy with --public-url.",
        err=True,
    )


class _StatusLine:
    """The last line of a terminal, rewritten; nothing elsewhere."""

    def __init__(self) -> None:
        self._shown = ""

    def say(self, text: str) -> None:
        if sys.stderr.isatty() and text != self._shown:
            click.echo(f"\r\x1b[2K{text}", nl=False, err=True)
            self._shown = text

    def end(self) -> None:
        if self._shown:
            click.echo("", err=True)
