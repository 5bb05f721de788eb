"""One piece of work at a time, done in order while its caller continues the next."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self


class Behind:
    """A thread that does what it is given, one piece behind its caller; a context manager.

    At most one piece waits or is under way, so that what the pieces hold stays bounded. Leaving the
    context waits for it; what it raises is raised then, unless another error is on its way.
    """

    def __init__(self, name: str) -> None:
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
        self._last: Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pool.shutdown()
        if error is None:
            self.wait()

    def do(self, work: Callable[[], None]) -> None:
        """Begin a piece, once the one before is done. Raises what that one raised."""
        self.wait()
        self._last = self._pool.submit(work)

    def wait(self) -> None:
        """Until nothing is under way. Raises what the last piece raised, once."""
        last, self._last = self._last, None
        if last is not None:
            last.result()
