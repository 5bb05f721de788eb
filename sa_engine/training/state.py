"""The state of a run on disk: everything that the next step depends on.

The data order and every random number are functions of (seed, step), so the state is the step, the
weights, the optimizer and the moving average.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sa_engine.errors import TrainingError, UsageError
from sa_engine.training.optimizer import MovingAverage

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
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".partial")
    payload = {
        "step": step,
        "fingerprint": fingerprint,
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "average": average.weights,
        "seconds": seconds,
    }
    with temporary.open("wb") as file:
        torch.save(payload, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


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
