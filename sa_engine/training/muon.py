"""Muon: matrices step along their orthogonalised momentum, everything else by AdamW.

Source: Jordan et al., "Muon: an optimizer for hidden layers in neural networks" (2024), with the
scale of Liu et al., "Muon is scalable for LLM training" (2025), by which a step is as long as
AdamW's, so that learning rates and weight decay mean the same.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

MATRIX = "is_matrix"
"""Of a group of parameters: whether its parameters are orthogonalised."""

_MOMENTUM = 0.95
_ADAMW_RMS = 0.2
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)


class Muon(torch.optim.AdamW):
    """AdamW but for groups with `MATRIX`, whose parameters have two axes or more.

    A convolution's kernel counts as a matrix of one row for each output channel.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One step. Raises ValueError with a closure: gradients must be there."""
        if closure is not None:
            raise ValueError("Muon takes no closure")
        turned: list[tuple[dict[str, Any], Tensor, Tensor]] = []
        for group in self.param_groups:
            for parameter in group["params"] if group[MATRIX] else ():
                if parameter.grad is not None:
                    turned.append((group, parameter, parameter.grad))
                    # AdamW passes over what has no gradient.
                    parameter.grad = None
        super().step()
        for group, parameter, grad in turned:
            state = self.state[parameter]
            if not state:
                state["momentum"] = torch.zeros_like(parameter)
            momentum: Tensor = state["momentum"].lerp_(grad, 1 - _MOMENTUM)
            ahead_RC = grad.lerp(momentum, _MOMENTUM).flatten(1)
            length = _ADAMW_RMS * max(ahead_RC.shape) ** 0.5
            parameter.mul_(1 - group["lr"] * group["weight_decay"])
            turn = orthogonalise(ahead_RC).view_as(parameter)
            parameter.add_(turn, alpha=-group["lr"] * length)
            parameter.grad = grad


def is_matrix(parameter: Tensor) -> bool:
    """Whether a weight is worth orthogonalising: neither thin, as depthwise kernels, nor a row."""
    return parameter.dim() >= 2 and min(len(parameter), parameter[0].numel()) >= 16


def orthogonalise(matrix_RC: Tensor, *, steps: int = 5) -> Tensor:
    """The nearest (semi-)orthogonal matrix, roughly: singular values between about 0.7 and 1.2.

    By a Newton-Schulz iteration of order five, which is all products of matrices.
    """
    a, b, c = _COEFFICIENTS
    is_tall = matrix_RC.shape[0] > matrix_RC.shape[1]
    x = matrix_RC.T if is_tall else matrix_RC
    x = x / (x.norm() + 1e-7)
    for _ in range(steps):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if is_tall else x
