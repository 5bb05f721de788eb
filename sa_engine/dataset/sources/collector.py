"""Gathering listed names (and places in tars) without one object per image."""

from typing import Any

import pyarrow as pa

from sa_engine.dataset.sources.arrays import bytes_array, optional_int_array
from sa_engine.dataset.sources.source_list import SourceList

_CHUNK = 65536


class Collector:
    """Takes names one by one or many at once, and gives them as a list."""

    def __init__(self) -> None:
        self._names: list[bytes] = []
        self._offsets: list[int | None] = []
        self._sizes: list[int | None] = []
        self._chunks: list[tuple[Any, Any, Any]] = []
        self._any_span = False

    def add(self, name: bytes, offset: int | None = None, size: int | None = None) -> None:
        """Add one: a file, or a tar's member whose bytes lie at `offset` of it."""
        self._names.append(name)
        self._offsets.append(offset)
        self._sizes.append(size)
        self._any_span = self._any_span or offset is not None
        if len(self._names) >= _CHUNK:
            self._flush()

    def add_array(self, names: Any) -> None:
        """Many plain files at once, large_binary."""
        self._flush()
        nothing = pa.nulls(len(names), pa.int64())
        self._chunks.append((names, nothing, nothing))

    def listing(self, root: bytes) -> SourceList:
        """All that was added, in that order; relative names are below `root`."""
        self._flush()
        kinds = (pa.large_binary(), pa.int64(), pa.int64())
        names, offsets, sizes = (
            pa.chunked_array([chunk[k] for chunk in self._chunks], kind)
            for k, kind in enumerate(kinds)
        )
        return SourceList(names, root=root, tar_spans=(offsets, sizes) if self._any_span else None)

    def _flush(self) -> None:
        if self._names:
            self._chunks.append(
                (
                    bytes_array(self._names),
                    optional_int_array(self._offsets),
                    optional_int_array(self._sizes),
                )
            )
        self._names, self._offsets, self._sizes = [], [], []
