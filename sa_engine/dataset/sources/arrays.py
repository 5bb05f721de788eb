"""Arrow arrays straight from buffers.

`pyarrow.array` looks at every item and imports pandas, where that is installed, to do so; lists of
millions of names are neither made that way in time nor worth that import.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


def int_array(values: NDArray[np.int64]) -> Any:
    """int64, none null."""
    return pa.Array.from_buffers(pa.int64(), len(values), [None, _buffer(values)])


def optional_int_array(values: Sequence[int | None]) -> Any:
    """int64, null for None."""
    filled = np.fromiter((v or 0 for v in values), dtype=np.int64, count=len(values))
    present = np.fromiter((v is not None for v in values), dtype=np.bool_, count=len(values))
    valid = _buffer(np.packbits(present, bitorder="little"))
    return pa.Array.from_buffers(pa.int64(), len(filled), [valid, _buffer(filled)])


def bytes_array(values: Sequence[bytes]) -> Any:
    """large_binary, none null."""
    lengths = np.fromiter(map(len, values), dtype=np.int64, count=len(values))
    return _large_binary(lengths, pa.py_buffer(b"".join(values)))


class Lines:
    """Collects the lines of a text in one buffer, without their ends (LF or CR LF).

    Lines of nothing but white space are left out. One buffer, since many of some megabytes are not
    given back to the system when they are joined later.

    capacity: bytes that will be added at most.
    """

    def __init__(self, capacity: int) -> None:
        self._values = np.empty(capacity, dtype=np.uint8)
        self._length = 0
        self._lengths: list[NDArray[np.int64]] = []

    def add(self, block: bytes) -> None:
        """Add whole lines, each with its end."""
        data = np.frombuffer(block, dtype=np.uint8)
        ends = np.flatnonzero(data == 10)
        starts = np.concatenate(([0], ends[:-1] + 1)) if ends.size else ends
        keep = np.ones(data.size, dtype=np.bool_)
        keep[ends] = False
        returns = ends[(ends > starts) & (data[ends - 1] == 13)] - 1
        keep[returns] = False
        lengths = ends - starts
        lengths[np.searchsorted(ends, returns)] -= 1
        wanted = lengths > 0
        for k in np.flatnonzero(wanted & (data[np.minimum(starts, data.size - 1)] <= 32)):
            if not block[starts[k] : ends[k]].strip():
                wanted[k] = False
                keep[starts[k] : ends[k]] = False
        kept = data[keep]
        self._values[self._length : self._length + kept.size] = kept
        self._length += kept.size
        self._lengths.append(lengths[wanted])

    def array(self) -> Any:
        """large_binary: all lines."""
        lengths = np.concatenate([np.zeros(0, dtype=np.int64), *self._lengths])
        return _large_binary(lengths, _buffer(self._values[: self._length]))


def _large_binary(lengths: NDArray[np.int64], values: Any) -> Any:
    offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    kind = pa.large_binary()
    return pa.Array.from_buffers(kind, len(lengths), [None, _buffer(offsets), values])


def _buffer(values: NDArray[Any]) -> Any:
    return pa.py_buffer(np.ascontiguousarray(values))
