"""The command `sa-engine`: a group whose commands are imported only when they are called."""

import importlib
import io
import sys
from collections.abc import Sequence

import click

from sa_engine.cli.shared.command import SETTINGS, CommandGroup
from sa_engine.cli.shared.printable import printable
from sa_engine.errors import ExitStatus, InterruptedRun, SaEngineError
from sa_engine.pipelines.run.signals import exit_undisturbed, interrupt_on_signals
from sa_engine.version import __version__

# name -> (module, one line for the overview, which must not import the module to be shown)
COMMANDS = {
    "auto": ("auto", "Make masks for a folder of photographs, without people (stage 3)."),
    "semi": ("semi", "Propose masks for people to correct, by a box detector (stage 2)."),
    "work": ("work", "Help to make a dataset that was begun: the unit of work of a cluster."),
    "submit": ("submit.command", "Hand the work on a dataset to Slurm or Kubernetes."),
    "annotate": ("annotate", "Label masks in a browser, with the model's help (stages 1 and 2)."),
    "import": ("import_", "Turn masks that people made into a dataset (stage 1)."),
    "export": ("export", "Write a dataset in another tool's format."),
    "show": ("show", "Write pictures and a page of a dataset's masks to look through."),
    "report": ("report", "Write figures of datasets: a page, JSON and Parquet, side by side."),
    "audit": ("audit", "Say how good masks are: people correct or rate a sample of them."),
    "status": ("status", "Say how far a dataset is, and what failed."),
    "verify": ("verify", "Check every byte, mask and count of a dataset."),
    "merge": ("merge", "Unite datasets; images that are the same become one."),
    "split": ("split", "Divide a dataset by image content, the same way every time."),
    "train": ("train.command", "Train the promptable model on datasets."),
    "loop": ("loop", "Gather, retrain, measure and promote, round by round."),
    "evaluate": ("evaluate.command", "Measure a model on datasets: clicks, boxes, proposals."),
    "model": ("model.command", "Show, list, convert and compare model files."),
}


class LazyGroup(CommandGroup):
    """A click group that knows its commands by name and imports one when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:  # noqa: ARG002
        if name not in COMMANDS:
            return None
        module = importlib.import_module(f"sa_engine.cli.{COMMANDS[name][0]}")
        command = module.command
        if not isinstance(command, click.Command):
            raise TypeError(f"{module.__name__}.command is not a click command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])


@click.group(
    cls=LazyGroup,
    context_settings=SETTINGS,
    epilog="A first run:  sa-engine auto photos/ --out dataset/",
)
@click.version_option(__version__, "-V", "--version", prog_name="sa-engine")
def group() -> None:
    """Build segmentation datasets the way SA-1B was built."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its status, see `ExitStatus`.

    arguments: None for those of the program, which then also takes care of signals: one that asks
        it to stop, from its first moment to its last, is exit status 130.
    """
    if arguments is not None:
        _run(arguments)
    interrupt_on_signals()
    try:
        _run(None)
    except SystemExit as done:
        status = done.code
    except KeyboardInterrupt:
        status = InterruptedRun.exit_status
    exit_undisturbed(status if isinstance(status, int) else 1)


def _run(arguments: Sequence[str] | None) -> None:
    try:
        status = group.main(arguments, prog_name="sa-engine", standalone_mode=False)
    except InterruptedRun as interruption:
        _fail(f"Interrupted: {interruption}", interruption.exit_status)
    except SaEngineError as error:
        _fail(f"Error: {error}", error.exit_status)
    except click.exceptions.Abort:
        _fail("Interrupted.", ExitStatus.INTERRUPTED)
    except click.ClickException as error:
        said = io.StringIO()
        error.show(said)
        click.echo(printable(said.getvalue()), nl=False, err=True)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # Whoever read our output has gone; there is nobody left to tell.
        sys.stderr.close()
        sys.exit(ExitStatus.ERROR)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        _fail(f"Error: {where}{error.strerror or error}", ExitStatus.ERROR)
    except Exception as error:
        if not type(error).__module__.startswith("pyarrow"):
            raise
        _fail(f"Error: a file cannot be read or written: {error}", ExitStatus.ERROR)
    sys.exit(status if isinstance(status, int) else 0)


def _fail(message: str, status: ExitStatus | int) -> None:
    click.echo(printable(" ".join(message.split())), err=True)
    sys.exit(status)
