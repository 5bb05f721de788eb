"""Numbers of a device, read without making it wait."""

import torch
from torch import Tensor


class HostCopy:
    """A copy of a tensor on its way to this process.

    A GPU copies it when it comes to it, among its other work; asking for the values waits for that
    moment only, not for what was queued since.
    """

    def __init__(self, values: Tensor) -> None:
        self._done: torch.cuda.Event | None = None
        if values.device.type != "cuda":
            self._values = values.detach()
            return
        self._values = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
        self._values.copy_(values.detach(), non_blocking=True)
        self._done = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
        self._done.record()

    def tolist(self) -> list[float]:
        """The values."""
        if self._done is not None:
            self._done.synchronize()
        values: list[float] = self._values.tolist()
        return values
