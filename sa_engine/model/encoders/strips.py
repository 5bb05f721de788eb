"""Wide maps some rows at a time: they stay in the cache and in memory the process has, and threads
take them one by one."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sa_engine.model.crew import in_order

STRIP_BYTES, LEAST_STRIP_BYTES = 1 << 22, 1 << 20
"""What the widest map of a strip holds at most, and at least if there are enough rows. Maps of a
few MiB are made in memory that the process has; larger ones come as new pages from the system each
time: a third of the encoder's time at 1024 pixels. Both are the same for any number of threads."""
STRIPS = 16
"""Pieces that a map is divided into if they do not become smaller than that."""

Rows = tuple[int, int]
"""First row of a map and the row after its last."""


def in_strips(
    rows: int,
    row_bytes: int,
    x: Tensor,
    compute: Callable[[Rows], Tensor],
    *,
    dim: int,
    training: bool,
) -> Tensor:
    """The output computed some rows at a time where that saves time and memory, else at once.

    On a CPU a strip's wide maps are made and used while they are in the cache. Elsewhere, in
    training, and where gradients are followed, all rows are computed together.

    rows: of the output; row_bytes: what a row's widest intermediate map holds.
    x: the input, to know where it lies. dim: of the output's rows.
    """
    if x.device.type != "cpu" or training or torch.is_grad_enabled():
        return compute((0, rows))
    least, most = LEAST_STRIP_BYTES // row_bytes, STRIP_BYTES // row_bytes
    step = max(1, min(most, max(least, -(-rows // STRIPS))))
    if step >= rows:
        return compute((0, rows))
    strips = in_order(compute, [(a, min(a + step, rows)) for a in range(0, rows, step)])
    return torch.cat(list(strips), dim=dim)


def linear_in_strips(linear: nn.Linear, x: Tensor) -> Tensor:
    """A linear layer over the last dimension of x, some rows at a time."""
    x_NC = x.reshape(-1, x.shape[-1])
    row_bytes = max(linear.in_features, linear.out_features) * x.element_size()
    out_NC = in_strips(
        len(x_NC),
        row_bytes,
        x_NC,
        lambda rows: linear(x_NC[rows[0] : rows[1]]),
        dim=0,
        training=False,
    )
    return out_NC.view(*x.shape[:-1], linear.out_features)


def rows_needed(rows: Rows, height: int, *, stride: int) -> Rows:
    """The input's rows, of `height`, that a 3 by 3 convolution needs for rows of its output.

    The row above the first is among them, so that `rows_made` finds no border where none is.
    """
    stop = stride * rows[1] + (1 if stride == 1 else 0)
    return max(stride * (rows[0] - 1), 0), min(stop, height)


def rows_made(out_BCHW: Tensor, rows: Rows) -> Tensor:
    """Of the convolution of `rows_needed`, the rows that were asked for.

    The row above the first one was computed without what lies above it: it is cut off.
    """
    first = min(rows[0], 1)
    return out_BCHW[:, :, first : first + rows[1] - rows[0]]


def neck_in_strips(neck: nn.Sequential, x_BCHW: Tensor) -> Tensor:
    """An encoder's neck: 1 by 1 convolution, norm, 3 by 3 convolution, norm."""
    first, first_norm, second, second_norm = neck
    assert isinstance(first, nn.Conv2d) and isinstance(second, nn.Conv2d)
    height, width = x_BCHW.shape[2:]

    def compute(rows: Rows) -> Tensor:
        top, bottom = rows_needed(rows, height, stride=1)
        x_BHWC = x_BCHW[:, :, top:bottom].permute(0, 2, 3, 1)
        x = F.linear(x_BHWC, first.weight[:, :, 0, 0]).permute(0, 3, 1, 2)
        out: Tensor = second_norm(rows_made(second(first_norm(x)), rows))
        return out

    row_bytes = len(x_BCHW) * x_BCHW.shape[1] * width * x_BCHW.element_size()
    return in_strips(height, row_bytes, x_BCHW, compute, dim=2, training=neck.training)
