"""Lists of sources: which images a run is about, millions of them in Arrow arrays.

An image's id is its position, from 1, in its list.
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sa_engine.dataset.folder.place import EXTRAS
from sa_engine.dataset.sources.arrays import bytes_array, int_array, optional_int_array

_SCHEMES = tuple(f"{scheme}://".encode() for scheme in EXTRAS)
_ABSOLUTE = f"^(/|({'|'.join(EXTRAS)})://)"
_DIGEST_ROWS = 65536
_ROWS_AT_ONCE = 1 << 18


@dataclass(frozen=True, slots=True)
class Source:
    """One image to read.

    uri: an absolute path or a URL, or "archive.tar!member" of one; bytes that are not UTF-8 are
        held as `os.fsdecode` holds them.
    name: as listed: relative to the listed folder where there is one; always valid Unicode (other
        bytes are spelled \\xNN).
    tar_offset, tar_size: where a tar member's bytes lie in its archive; None for plain files.
    """

    uri: str
    name: str
    tar_offset: int | None = None
    tar_size: int | None = None


class SourceList(Sequence[Source]):
    """Many sources, held as Arrow arrays; behaves as a sequence of `Source`.

    names: large_binary, the listed names.
    root: folder that relative names are joined to.
    uris: large_binary, null (or absent) where the uri is root and name joined.
    tar_spans: (offsets, sizes), int64, null for plain files; absent if there are none.
    """

    __slots__ = ("_names", "_root", "_tar_spans", "_uris")

    def __init__(
        self,
        names: Any,
        *,
        root: bytes = b"",
        uris: Any | None = None,
        tar_spans: tuple[Any, Any] | None = None,
    ) -> None:
        self._names = _chunked(names)
        self._root = root
        self._uris = None if uris is None else _chunked(uris)
        self._tar_spans = (
            None if tar_spans is None else (_chunked(tar_spans[0]), _chunked(tar_spans[1]))
        )

    @classmethod
    def of(cls, sources: Sequence[Source]) -> "SourceList":
        """A list of single sources, in their order."""
        if isinstance(sources, SourceList):
            return sources
        spans = None
        if any(source.tar_offset is not None for source in sources):
            spans = (
                optional_int_array([source.tar_offset for source in sources]),
                optional_int_array([source.tar_size for source in sources]),
            )
        return cls(
            bytes_array([os.fsencode(source.name) for source in sources]),
            uris=bytes_array([os.fsencode(source.uri) for source in sources]),
            tar_spans=spans,
        )

    def __len__(self) -> int:
        return len(self._names)

    @overload
    def __getitem__(self, index: int) -> Source: ...
    @overload
    def __getitem__(self, index: slice) -> "SourceList": ...
    def __getitem__(self, index: int | slice) -> "Source | SourceList":
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            if step != 1:
                return self.take(range(start, stop, step))
            return self._map(lambda array: array.slice(start, max(0, stop - start)))
        if not -len(self) <= index < len(self):
            raise IndexError(f"no source {index} in a list of {len(self)}")
        index %= len(self)
        name: bytes = self._names[index].as_py()
        uri: bytes | None = None if self._uris is None else self._uris[index].as_py()
        offset = size = None
        if self._tar_spans is not None:
            offset, size = (array[index].as_py() for array in self._tar_spans)
        return Source(
            os.fsdecode(_joined_path(self._root, name) if uri is None else uri),
            label(name),
            offset,
            size,
        )

    def with_uris(self) -> "SourceList":
        """The same sources with each uri spelled out, so that lists can be joined."""
        prefix = self._root if not self._root or self._root.endswith(b"/") else self._root + b"/"
        joined = pc.if_else(
            pc.match_substring_regex(self._names, _ABSOLUTE),
            self._names,
            pc.binary_join_element_wise(
                pa.scalar(prefix, pa.large_binary()), self._names, pa.scalar(b"", pa.large_binary())
            ),
        )
        uris = joined if self._uris is None else pc.coalesce(self._uris, joined)
        return SourceList(self._names, uris=uris, tar_spans=self._tar_spans)

    @classmethod
    def joined(cls, lists: Sequence["SourceList"]) -> "SourceList":
        """All sources of several lists, one list after the other."""
        parts = [each.with_uris() for each in lists]
        nothing = [pa.nulls(len(each), pa.int64()) for each in parts]
        spans = [
            (nothing[k], nothing[k]) if each.tar_spans is None else each.tar_spans
            for k, each in enumerate(parts)
        ]
        return cls(
            _joined([each.names for each in parts], pa.large_binary()),
            uris=_joined([each.uris for each in parts], pa.large_binary()),
            tar_spans=(
                _joined([offsets for offsets, _ in spans], pa.int64()),
                _joined([sizes for _, sizes in spans], pa.int64()),
            ),
        )

    def followed_by(self, others: "SourceList") -> "SourceList":
        """These sources and then others of the same root."""
        if others.root != self._root:
            raise ValueError(f"{others.root!r} is another root than {self._root!r}")

        def joined(first: Any | None, second: Any | None, kind: Any) -> Any | None:
            if first is None and second is None:
                return None
            pairs = ((first, len(self)), (second, len(others)))
            columns = [pa.nulls(n, kind) if each is None else each for each, n in pairs]
            return _joined(columns, kind)

        no_spans = (None, None)
        starts, sizes = (
            joined(first, second, pa.int64())
            for first, second in zip(
                self._tar_spans or no_spans, others.tar_spans or no_spans, strict=True
            )
        )
        names = _joined([self._names, others.names], pa.large_binary())
        return SourceList(
            names,
            root=self._root,
            uris=joined(self._uris, others.uris, pa.large_binary()),
            tar_spans=None if starts is None else (starts, sizes),
        )

    def take(self, indices: Iterable[int]) -> "SourceList":
        """The sources at these positions, in this order."""
        positions = int_array(np.fromiter(indices, dtype=np.int64))
        return self._map(lambda array: array.take(positions))

    def sorted(self) -> "SourceList":
        """By the bytes of the names, each name once."""
        if len(self) < 2:
            return self
        earlier, later = self._names[:-1], self._names[1:]
        if pc.all(pc.less(earlier, later)).as_py():
            return self
        # In one piece (Arrow would make a piece of its own to sort and another to take from), and
        # taken bit by bit: two copies of the names are in memory at most.
        self._names = _chunked(one_array(self._names))
        listing = self.take_array(pc.sort_indices(self._names))
        first = pc.not_equal(listing._names[:-1], listing._names[1:])
        if pc.all(first).as_py():
            return listing
        keep = np.flatnonzero(np.concatenate(([True], first.to_numpy())))
        return listing.take_array(int_array(keep))

    def take_array(self, positions: Any) -> "SourceList":
        """`take` for positions that are an Arrow array already."""
        pieces = [
            positions.slice(start, _ROWS_AT_ONCE)
            for start in range(0, len(positions), _ROWS_AT_ONCE)
        ]

        def take(column: Any) -> Any:
            array = one_array(column)
            return pa.chunked_array([array.take(piece) for piece in pieces], array.type)

        return self._map(take)

    def digest(self) -> str:
        """Hex SHA-256 of the list's content, whatever arrays hold it."""
        digest = hashlib.sha256(b"sources 1\n")
        digest.update(len(self._root).to_bytes(8, "little") + self._root)
        for array in (self._names, self._uris, *(self._tar_spans or (None, None))):
            digest.update(b"\0" if array is None or array.null_count == len(array) else b"\1")
            if array is None or array.null_count == len(array):
                continue
            for start in range(0, len(array), _DIGEST_ROWS):
                _update(digest, one_array(array.slice(start, _DIGEST_ROWS)))
        return digest.hexdigest()

    @property
    def names(self) -> Any:
        """The listed names, large_binary."""
        return self._names

    @property
    def uris(self) -> Any | None:
        """large_binary, null where the uri is root and name joined; None if that is everywhere."""
        return self._uris

    @property
    def tar_spans(self) -> tuple[Any, Any] | None:
        """(offsets, sizes) inside a tar, int64, null for plain files; None if all are plain."""
        return self._tar_spans

    @property
    def root(self) -> bytes:
        """The folder that relative names are joined to."""
        return self._root

    def _map(self, change: Callable[[Any], Any]) -> "SourceList":
        return SourceList(
            change(self._names),
            root=self._root,
            uris=None if self._uris is None else change(self._uris),
            tar_spans=None
            if self._tar_spans is None
            else (change(self._tar_spans[0]), change(self._tar_spans[1])),
        )


def label(name: bytes) -> str:
    """A name as valid Unicode; bytes that are not UTF-8 are spelled \\xNN."""
    return name.decode("utf-8", "backslashreplace")


def _joined_path(root: bytes, name: bytes) -> bytes:
    return name if name.startswith(_SCHEMES) else os.path.join(root, name)  # noqa: PTH118 - bytes


def _chunked(array: Any) -> Any:
    return array if isinstance(array, pa.ChunkedArray) else pa.chunked_array([array])


def _joined(columns: Sequence[Any], kind: Any) -> Any:
    chunks = [chunk for column in columns for chunk in _chunked(column).chunks]
    return pa.chunked_array(chunks, kind)


def one_array(column: Any) -> Any:
    """A chunked column as one array."""
    if not isinstance(column, pa.ChunkedArray):
        return column
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _update(digest: Any, array: Any) -> None:
    """Feed an array's values: which are set, how long each is, their bytes."""
    if array.null_count:
        digest.update(np.packbits(array.is_valid().to_numpy(zero_copy_only=False)))
        array = array.fill_null(b"" if pa.types.is_large_binary(array.type) else 0)
    if pa.types.is_large_binary(array.type):
        _, offsets, data = array.buffers()
        ends = np.frombuffer(offsets, dtype="<i8")[array.offset : array.offset + len(array) + 1]
        digest.update(np.diff(ends).astype("<i8"))
        if data is not None:
            digest.update(memoryview(data)[ends[0] : ends[-1]])
    else:
        digest.update(array.to_numpy(zero_copy_only=False).astype("<i8"))
