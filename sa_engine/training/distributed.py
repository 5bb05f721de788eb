"""One process or many: who am I, and the sum over all of us."""

import contextlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from sa_engine.model.device import choose_device


@dataclass(frozen=True, slots=True)
class World:
    """rank: this process, from 0. size: processes. local_rank: this process on its machine."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and reports."""
        return self.rank == 0


def join_world() -> World:
    """Join the processes that `torchrun` started; alone without it.

    NCCL between GPUs, gloo between CPUs.
    """
    if "RANK" not in os.environ or int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return World()
    if not dist.is_initialized():
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    return World(dist.get_rank(), dist.get_world_size(), int(os.environ.get("LOCAL_RANK", "0")))


def leave_world() -> None:
    """Undo `join_world`."""
    if dist.is_initialized():
        dist.destroy_process_group()


@contextlib.contextmanager
def training_place(device: str) -> Iterator[tuple[World, torch.device]]:
    """This process's part of the run and its device, joined for as long as the block lasts.

    device: "auto", "cpu", "cuda" or "mps"; of several GPUs each process takes its own.
    """
    world = join_world()
    try:
        place = torch.device(choose_device(device))
        if place.type == "cuda":
            place = torch.device("cuda", world.local_rank)
            torch.cuda.set_device(place)
        yield world, place
    finally:
        leave_world()


def average_gradients(parameters: Iterable[torch.nn.Parameter], world: World) -> None:
    """Replace each gradient by its mean over all processes.

    One flat sum after accumulation; a parameter without a gradient counts as zero, as which
    prompts a batch drew decides which embeddings take part.
    """
    if world.size == 1:
        return
    trained = [p for p in parameters if p.requires_grad]
    for parameter in trained:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    gradients = [p.grad for p in trained if p.grad is not None]
    flat = torch.cat([g.flatten() for g in gradients])
    dist.all_reduce(flat)
    flat /= world.size
    start = 0
    for gradient in gradients:
        gradient.copy_(flat[start : start + gradient.numel()].view_as(gradient))
        start += gradient.numel()


class _SumOverProcesses(torch.autograd.Function):
    """The sum of a tensor over all processes; so is its gradient."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:  # noqa: ARG004 - torch's signature
        total = values.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # noqa: ARG004 - torch's signature
        total = gradient.contiguous().clone()
        dist.all_reduce(total)
        return total


class SyncedBatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation with the statistics of all processes' images.

    For gloo, which torch's own SyncBatchNorm does not know; equal counts in every process.
    """

    def forward(self, x_BCHW: Tensor) -> Tensor:
        if not self.training or self.running_mean is None or self.running_var is None:
            return super().forward(x_BCHW)
        x = x_BCHW.float()
        moments = torch.stack([x.mean(dim=(0, 2, 3)), (x**2).mean(dim=(0, 2, 3))])
        total: Tensor = _SumOverProcesses.apply(moments)  # type: ignore[no-untyped-call]
        mean, square = total / dist.get_world_size()
        variance = square - mean**2
        with torch.no_grad():
            count = x_BCHW.numel() // x_BCHW.shape[1] * dist.get_world_size()
            momentum = 0.1 if self.momentum is None else self.momentum
            self.running_mean.lerp_(mean, momentum)
            self.running_var.lerp_(variance * count / (count - 1), momentum)
            if self.num_batches_tracked is not None:
                self.num_batches_tracked.add_(1)
        scale = torch.rsqrt(variance + self.eps) * self.weight
        out: Tensor = x * scale[:, None, None] + (self.bias - mean * scale)[:, None, None]
        return out.to(x_BCHW.dtype)


def synchronise_norms(module: nn.Module, world: World) -> None:
    """Replace batch normalisation inside `module` by the kind that spans processes."""
    if world.size == 1:
        return
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            made = SyncedBatchNorm2d(child.num_features, eps=child.eps, momentum=child.momentum)
            made.load_state_dict(child.state_dict())
            setattr(module, name, made)
        else:
            synchronise_norms(child, world)


def summed(values: Tensor, world: World) -> Tensor:
    """The sum of `values` over all processes."""
    if world.size > 1:
        dist.all_reduce(values)
    return values
