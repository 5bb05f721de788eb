"""MATLAB files of version 5: the numbers, cells and structs in them, and nothing that runs.

Layout: "MAT-File Format", The MathWorks, chapter 1 (level 5). Written out here because the files
come from anywhere: every length is checked before it is used, and what unpacks to more than a limit
is refused.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sa_engine.errors import AnnotationError

MAX_BYTES = 1 << 30
"""Largest variable once unpacked, bytes."""

_DEEPEST = 16
_MATRIX, _COMPRESSED = 14, 15
_STORED = {
    1: "i1",
    2: "u1",
    3: "i2",
    4: "u2",
    5: "i4",
    6: "u4",
    7: "f4",
    9: "f8",
    12: "i8",
    13: "u8",
    16: "u1",
    17: "u2",
    18: "u4",
}
_NUMERIC = range(6, 16)
_CELL, _STRUCT, _CHAR = 1, 2, 4


@dataclass(frozen=True, slots=True)
class _Element:
    kind: int
    data: memoryview


def parse(data: bytes) -> dict[str, Any]:
    """The variables of a file by name.

    A numeric array is an ndarray of its shape; a cell array is a list and a struct array a list of
    dicts, both column by column; a struct alone is a dict; anything else is None.

    Raises AnnotationError if it is not such a file.
    """
    if data[:8] == b"\x89HDF\r\n\x1a\n" or data[:10] == b"MATLAB 7.3":
        raise AnnotationError("it is of version 7.3: save it from MATLAB with -v7")
    order = {b"IM": "<", b"MI": ">"}.get(data[126:128])
    if order is None:
        raise AnnotationError("it is not a MATLAB file of version 5")
    try:
        return dict(_variables(memoryview(data)[128:], order))
    except (ValueError, struct.error, zlib.error, MemoryError, OverflowError) as error:
        raise AnnotationError(f"it is damaged: {error}") from error


def _variables(data: memoryview, order: str) -> Iterator[tuple[str, Any]]:
    for element in _elements(data, order):
        if element.kind == _COMPRESSED:
            unpacker = zlib.decompressobj()
            unpacked = unpacker.decompress(element.data, MAX_BYTES)
            if unpacker.unconsumed_tail or not unpacker.eof:
                raise ValueError("a compressed variable is cut short or beyond the limit")
            yield from _variables_of(memoryview(unpacked), order)
        elif element.kind == _MATRIX:
            yield _matrix(element.data, order, 0)


def _variables_of(data: memoryview, order: str) -> Iterator[tuple[str, Any]]:
    for element in _elements(data, order):
        if element.kind == _MATRIX:
            yield _matrix(element.data, order, 0)


def _elements(data: memoryview, order: str) -> Iterator[_Element]:
    position = 0
    while position + 8 <= len(data):
        kind, size = struct.unpack_from(order + "II", data, position)
        if kind >> 16:
            # Small: kind and size share four bytes, the data are the other four.
            size, kind = kind >> 16, kind & 0xFFFF
            if size > 4:
                raise ValueError(f"a small element of {size} bytes")
            yield _Element(kind, data[position + 4 : position + 4 + size])
            position += 8
            continue
        if size > len(data) - position - 8:
            raise ValueError(
                f"an element of {size} bytes where {len(data) - position - 8} are left"
            )
        yield _Element(kind, data[position + 8 : position + 8 + size])
        position += 8 + (size if kind == _COMPRESSED else -(-size // 8) * 8)


def _matrix(data: memoryview, order: str, depth: int) -> tuple[str, Any]:
    """A variable's name and value; None for a value of a kind that is not read."""
    if depth > _DEEPEST:
        raise ValueError(f"nested deeper than {_DEEPEST}")
    parts = _elements(data, order)
    flags = next(parts, None)
    if flags is None or len(flags.data) < 4:
        # An empty matrix may have no parts at all.
        return "", None
    kind = struct.unpack_from(order + "I", flags.data)[0] & 0xFF
    shape = tuple(int(n) for n in _numbers(_next(parts), order))
    count = 1
    for side in shape:
        if side < 0:
            raise ValueError(f"an array of shape {shape}")
        count *= side
    name = bytes(_next(parts).data).decode("latin-1")
    if kind in _NUMERIC:
        values = _numbers(_next(parts), order)
        if values.size != count:
            raise ValueError(f"{values.size} numbers for an array of shape {shape}")
        return name, values.reshape(shape, order="F")
    if kind == _CELL:
        return name, [_matrix(_next(parts).data, order, depth + 1)[1] for _ in range(count)]
    if kind == _STRUCT:
        length = int(_numbers(_next(parts), order)[:1].sum())
        text = bytes(_next(parts).data)
        if length <= 0:
            raise ValueError("a struct without field names")
        fields = [
            text[at : at + length].split(b"\0")[0].decode("latin-1")
            for at in range(0, len(text), length)
        ]
        rows = [
            {field: _matrix(_next(parts).data, order, depth + 1)[1] for field in fields}
            for _ in range(count)
        ]
        return name, rows[0] if count == 1 else rows
    return name, None


def _next(parts: Iterator[_Element]) -> _Element:
    element = next(parts, None)
    if element is None:
        raise ValueError("an array ends too early")
    return element


def _numbers(element: _Element, order: str) -> NDArray[Any]:
    code = _STORED.get(element.kind)
    if code is None:
        raise ValueError(f"numbers of unknown kind {element.kind}")
    dtype = np.dtype(order + code)
    if len(element.data) % dtype.itemsize:
        raise ValueError(f"{len(element.data)} bytes of {dtype.itemsize} each")
    return np.frombuffer(element.data, dtype=dtype)
