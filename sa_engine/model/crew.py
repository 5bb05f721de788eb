"""Threads that compute pieces of fixed sizes, so that results do not depend on how many there are.

With several threads inside an operator, PyTorch divides its numbers by the count of threads. Where
a share ends they are computed by other instructions than elsewhere (GELU, by three threads) or
added in another order (some convolutions, by two): the last bits differ. Here the engine divides
the work itself, by sizes that depend on the data alone, and no operator has more than one thread.
Pieces also wait for each other less often than operators do.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")

_LOCK = threading.Lock()
_LOCAL = threading.local()
_outside = {"users": 0, "threads": 1}


@contextmanager
def one_thread_an_operator(device: torch.device) -> Iterator[None]:
    """Within: PyTorch's threads (`torch.set_num_threads`) take whole pieces from `in_order`.

    On other devices than a CPU, and inside itself, it changes nothing.
    """
    if device.type != "cpu" or crew_size() > 0:
        yield
        return
    with _LOCK:
        if not _outside["users"]:
            _outside["threads"] = torch.get_num_threads()
        _outside["users"] += 1
        threads = _outside["threads"]
    torch.set_num_threads(1)
    _LOCAL.size = threads
    try:
        yield
    finally:
        _LOCAL.size = 0
        with _LOCK:
            _outside["users"] -= 1
        torch.set_num_threads(threads)


def crew_size() -> int:
    """How many threads `in_order` has here; 0 outside of `one_thread_an_operator`."""
    size: int = getattr(_LOCAL, "size", 0)
    return size


def sharing() -> int:
    """Among how many threads the caller's work is shared: 1 for whoever works alone."""
    threads: int = getattr(_LOCAL, "sharing", 1)
    return threads


def in_order(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """The function's results for all items, in their order, computed by the threads there are.

    A few items beyond the one asked for are in work, so memory stays bounded.
    """
    size = crew_size()
    if size <= 1:
        yield from map(function, items)
        return
    inference, grad = torch.is_inference_mode_enabled(), torch.is_grad_enabled()

    def call(item: Item) -> Result:
        _LOCAL.sharing = size
        with torch.inference_mode(inference), torch.set_grad_enabled(grad and not inference):
            return function(item)

    pool = _pool(size)
    waiting: deque[Future[Result]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(call, item))
            if len(waiting) > 2 * size:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


@cache
def _pool(size: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=size, thread_name_prefix="compute")
