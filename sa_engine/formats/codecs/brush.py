"""Label Studio's brush masks: a bit stream of runs over row-major RGBA bytes.

The stream: 32 bits, how many values; 5 bits, word size less 1; four times 4 bits, the run-length
sizes less 1. Then blocks: 1 bit, whether one value repeats; 2 bits, which run-length size; the
length less 1 in that many bits; then one value, or as many values as the length says. Source: the
`rle-pack` package of thi.ng, which Label Studio uses. A pixel's mask is its fourth value, alpha.
"""

import numpy as np
from numpy.typing import NDArray

_HEADER_BITS = 32 + 5 + 4 * 4
_SIZES = (3, 4, 8, 16)
"""Run-length sizes that are written, bits; the same as Label Studio's."""

OPAQUE = 128
"""Alpha from which a pixel belongs to the mask: brushes have soft edges."""


def decode(data: bytes, size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """The (H, W) mask of a stream. ValueError if it is damaged or of another size."""
    height, width = size_hw
    bits = _Bits(data)
    total = bits.take(32)
    if total != 4 * height * width:
        raise ValueError(f"{total} values, where {width}x{height} pixels have {4 * height * width}")
    word_bits = bits.take(5) + 1
    if word_bits > 8:
        raise ValueError(f"values of {word_bits} bits")
    sizes = [bits.take(4) + 1 for _ in range(4)]
    values = np.empty(total, dtype=np.uint8)
    position = 0
    while position < total:
        repeats = bits.take(1)
        length = bits.take(sizes[bits.take(2)]) + 1
        if length > total - position:
            raise ValueError("its runs are longer than the picture")
        if repeats:
            values[position : position + length] = bits.take(word_bits)
        else:
            values[position : position + length] = bits.take_many(length, word_bits)
        position += length
    return values.reshape(height, width, 4)[:, :, 3] >= OPAQUE


def encode(mask_HW: NDArray[np.bool_]) -> bytes:
    """The stream of a mask with a pixel or more, white and opaque where it is set."""
    flat = mask_HW.reshape(-1)
    starts = np.flatnonzero(np.concatenate(([True], flat[1:] != flat[:-1])))
    lengths = 4 * np.diff(np.append(starts, flat.size))
    fields: list[tuple[int, int]] = [(4 * flat.size, 32), (7, 5), *((s - 1, 4) for s in _SIZES)]
    for start, length in zip(starts.tolist(), lengths.tolist(), strict=True):
        value = 255 if flat[start] else 0
        while length:
            part = min(length, 1 << _SIZES[-1])
            which = next(i for i, size in enumerate(_SIZES) if part <= 1 << size)
            fields += [(1, 1), (which, 2), (part - 1, _SIZES[which]), (value, 8)]
            length -= part
    return _pack(fields)


def _pack(fields: list[tuple[int, int]]) -> bytes:
    values = np.array([value for value, _ in fields], dtype=np.int64)
    sizes = np.array([size for _, size in fields], dtype=np.int64)
    ends = np.cumsum(sizes)
    owner = np.repeat(np.arange(len(fields)), sizes)
    shift = ends[owner] - 1 - np.arange(int(ends[-1]))
    return np.packbits(((values[owner] >> shift) & 1).astype(np.uint8)).tobytes()


class _Bits:
    """Reads numbers of any number of bits, most significant first."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0
        self._size = 8 * len(data)

    def take(self, count: int) -> int:
        start, self._position = self._position, self._position + count
        if self._position > self._size:
            raise ValueError("it ends too early")
        last = (self._position + 7) // 8
        whole = int.from_bytes(self._data[start // 8 : last], "big")
        return (whole >> (8 * last - self._position)) & ((1 << count) - 1)

    def take_many(self, count: int, size: int) -> NDArray[np.uint8]:
        """`count` numbers of `size` bits, at most 8."""
        start, self._position = self._position, self._position + count * size
        if self._position > self._size:
            raise ValueError("it ends too early")
        raw = np.frombuffer(self._data, np.uint8)[start // 8 : (self._position + 7) // 8]
        if size != 8:
            bits = np.unpackbits(raw)[start % 8 : start % 8 + count * size].reshape(count, size)
            return np.packbits(np.pad(bits, ((0, 0), (8 - size, 0))), axis=1)[:, 0]
        shift = start % 8
        if not shift:
            return raw[:count]
        wide = raw.astype(np.uint16)
        return ((wide[:-1] << shift | wide[1:] >> (8 - shift)) & 255).astype(np.uint8)[:count]
