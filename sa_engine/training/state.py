"""The state of a run on disk: everything that the next step depends on.

The data order and every random number are functions of (seed, step), so the state is the step, the
weights, the optimizer and the moving average.
"""

import contextlib
import fcntl
import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sa_engine.dataset.folder.draft import written_whole
from sa_engine.dataset.folder.files import explain_write
from sa_engine.errors import OutputError, TrainingError, UsageError
from sa_engine.model.checkpoint import save_torch
from sa_engine.training.optimizer import MovingAverage

_LOCK = "lock"
STATE_NAME = "state.pt"
"""The file, in a run's folder, that a resumed run starts from."""


@dataclass(frozen=True, slots=True)
class RunState:
    """What `save_state` wrote.

    step: steps done. fingerprint: the options that a continued run must share.
    seconds: that the steps took.
    """

    step: int
    fingerprint: str
    model: dict[str, Tensor]
    optimizer: dict[str, Any]
    average: dict[str, Tensor]
    seconds: float = 0.0

    def restore(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, average: MovingAverage
    ) -> None:
        """Put what was saved back where `save_state` took it from."""
        model.load_state_dict(self.model)
        optimizer.load_state_dict(self.optimizer)
        for name, value in self.average.items():
            average.weights[name].copy_(value)


def save_state(
    path: Path,
    *,
    step: int,
    fingerprint: str,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: MovingAverage,
    seconds: float = 0.0,
) -> None:
    """Write the state under a temporary name, then put it in place."""
    payload = {
        "step": step,
        "fingerprint": fingerprint,
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "average": average.weights,
        "seconds": seconds,
    }
    with written_whole(path) as draft:
        save_torch(payload, draft)


@contextlib.contextmanager
def only_run(folder: Path, *, is_main: bool = True) -> Iterator[None]:
    """Hold a run's folder: two trainings of one folder would write over each other's state.

    is_main: whether this process writes there; the others of one training hold nothing.
    Raises UsageError if another training holds it, OutputError if it cannot be written.
    """
    if not is_main:
        yield
        return
    lock = _locked(folder)
    try:
        yield
    finally:
        # A training that failed before it began leaves nothing.
        with contextlib.suppress(OSError):
            if [each.name for each in folder.iterdir()] == [_LOCK]:
                (folder / _LOCK).unlink()
                folder.rmdir()
        os.close(lock)


def _locked(folder: Path) -> int:
    """The run's lock, open and held."""
    while True:
        lock = _open_lock(folder)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            who = os.pread(lock, 200, 0).decode("utf-8", "replace").strip() or "another process"
            os.close(lock)
            raise UsageError(
                f"{who} is training in {folder}: wait until it has ended, or choose another --out"
            ) from None
        except OSError:
            return lock  # no locks on this file system
        if os.fstat(lock).st_nlink:
            break
        os.close(lock)  # whoever held it took it away as it ended
    with explain_write(folder, OutputError):
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"process {os.getpid()} on {platform.node()}".encode(), 0)
    return lock


def _open_lock(folder: Path) -> int:
    with explain_write(folder, OutputError):
        folder.mkdir(parents=True, exist_ok=True)
        return os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)


def load_state(path: Path, *, fingerprint: str) -> RunState | None:
    """Read a state; None where there is none yet.

    Raises UsageError if it belongs to a run with other options, TrainingError if it is damaged.
    """
    if not path.exists():
        return None
    try:
        payload = torch.load(path, map_location="cpu", weights_only=True)
        state = RunState(**payload)
    except Exception as error:
        raise TrainingError(
            f"{path} cannot be read ({error}); delete it to start the run from its beginning"
        ) from error
    if state.fingerprint != fingerprint:
        raise UsageError(
            f"{path} belongs to a run with other options or data; "
            "give those options, another --out, or delete the folder"
        )
    return state


def check_model_file(out: Path, state: Path) -> None:
    """Refuse to train into a file that is not this run's own, before anything is done.

    out: the weights file to write. state: the run's state beside it.
    Raises UsageError if `out` is a folder, or a file that no run there has written.
    """
    if out.is_dir():
        raise UsageError(
            f"{out} is a folder: name a file for --out, such as {out}/model.safetensors"
        )
    if out.exists() and not state.exists():
        raise UsageError(
            f"{out} is there already, and no training that could be resumed lies beside it: "
            "choose another --out, or move the file away"
        )


def diverged(step: int, loss: float, grad_norm: float, state: Path) -> TrainingError:
    """The error of a step whose loss or gradient is no number; the state before it stays."""
    return TrainingError(
        f"the loss or its gradient is no longer a number at step {step} "
        f"(loss {loss:.4g}, gradient norm {grad_norm:.4g}); the state of an earlier step is in "
        f"{state}; try a lower --lr or a smaller --clip-norm"
    )
