"""What a run says of its progress, and where that is written."""

import dataclasses
import importlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from sa_engine.dataset.folder.files import explain_write
from sa_engine.errors import OutputError, UsageError


class Report(Protocol):
    """What a run says of some steps: the fields of `Pace`, and figures of its own."""

    @property
    def step(self) -> int:
        """Steps done."""


R = TypeVar("R", bound=Report)


@dataclass(frozen=True, slots=True)
class Pace:
    """What every report says.

    step: steps done.
    lr: learning rate of the last one.
    grad_norm: its gradient's norm before clipping.
    images_per_s: of all processes, since the last report.
    data_wait_share: of that time the main process waited for samples; well above 0, more processes
        should prepare them.
    horizon: steps that the run will have had at its end, as far as can be told.
    """

    step: int
    lr: float
    grad_norm: float
    images_per_s: float
    data_wait_share: float
    horizon: int


def last_reports(folder: Path, kind: type[R], *, count: int = 50) -> list[R]:
    """The last reports of a run as its "metrics.jsonl" has them, in order of their steps.

    A run that was killed says some steps twice; the later report counts.
    """
    path = folder / "metrics.jsonl"
    if not path.exists():
        return []
    by_step: dict[int, R] = {}
    for line in path.read_text("utf-8").splitlines():
        try:
            made = kind(**json.loads(line))
        except (ValueError, TypeError):
            # A line that a full disk or a kill cut short.
            continue
        by_step[made.step] = made
    return [by_step[step] for step in sorted(by_step)[-count:]]


class MetricsLog:
    """Appends reports to "metrics.jsonl" in a folder and, if wanted, to TensorBoard's event files.

    Raises UsageError where TensorBoard is wanted but not installed.
    """

    def __init__(self, folder: Path, *, tensorboard: bool = False) -> None:
        self._path = folder / "metrics.jsonl"
        self._events: Any = None
        if tensorboard:
            try:
                module = importlib.import_module("torch.utils.tensorboard")
            except ImportError as error:
                raise UsageError(
                    "TensorBoard is not installed; pip install 'sa-engine[train]' or leave out "
                    "--tensorboard (metrics.jsonl is written in any case)"
                ) from error
            self._events = module.SummaryWriter(str(folder))

    def write(self, report: Report) -> None:
        """Append one report."""
        values = dataclasses.asdict(report)  # type: ignore[call-overload]
        with explain_write(self._path, OutputError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(values) + "\n")
        if self._events is not None:
            for name, value in values.items():
                if name != "step":
                    self._events.add_scalar(name, value, report.step)
            self._events.flush()
