"""Run-length encoded masks, as COCO defines them.

COCO RLE: the mask is read column by column (Fortran order); `counts` alternates lengths of
background and foreground runs, beginning with background. The compressed form packs those numbers
into ASCII; it is the only form that the engine stores. Source: COCO API, `maskApi.c`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

Mask = NDArray[np.bool_]
"""A binary mask, (H, W) bool."""


MAX_PIXELS = (1 << 29) - 1
"""Largest mask, pixels: longer runs take more than the 6 characters that the COCO library provides
for each, and it would write past its buffers."""

_MAX_CHARACTERS = 6
_LONG_RUN = 1 << 24
"""Where only such runs are, each takes 6 characters, and the COCO library has no room for the zero
that it writes after them."""


@dataclass(frozen=True, slots=True)
class Rle:
    """A mask as COCO compressed RLE.

    size_hw: (height, width) in pixels.
    counts: COCO's compressed ASCII string.
    """

    size_hw: tuple[int, int]
    counts: str

    def to_coco(self) -> dict[str, Any]:
        """The JSON form: {"size": [h, w], "counts": str}."""
        return {"size": list(self.size_hw), "counts": self.counts}


def encode(mask: NDArray[Any]) -> Rle:
    """Encode a (H, W) mask; non-zero is foreground. ValueError for over `MAX_PIXELS`."""
    height, width = mask.shape
    _check_size((height, width))
    if height * width >= _LONG_RUN:
        return from_runs(_runs_of(mask), (height, width))
    coded: Any = coco_mask.encode(np.asfortranarray(mask != 0, dtype=np.uint8))
    return Rle((height, width), coded["counts"].decode("ascii"))


def decode(rle: Rle) -> Mask:
    """Decode to a (H, W) bool mask. Raises ValueError as `runs` does."""
    lengths = runs(rle)
    height, width = rle.size_hw
    pixels = np.repeat(np.arange(lengths.size) % 2 == 1, lengths)
    return pixels.reshape(width, height).T


def area(rle: Rle) -> int:
    """Foreground pixels. Raises ValueError as `runs` does."""
    return int(coco_mask.area(_checked(rle)))


def areas(rles: Sequence[Rle]) -> list[int]:
    """Foreground pixels of each mask, all of which were made here or went through `runs`."""
    coded: Any = [_to_bytes(rle) for rle in rles]
    found: list[int] = []
    # pycocotools 2.0.11 fails on more masks at once (it makes an uint8 of their number).
    for start in range(0, len(coded), 255):
        found += coco_mask.area(coded[start : start + 255]).tolist()
    return found


def boxes_xywh(rles: Sequence[Rle]) -> list[tuple[float, float, float, float]]:
    """`bbox_xywh` of each mask, all of which were made here or went through `runs`."""
    if not rles:
        return []
    coded: Any = [_to_bytes(rle) for rle in rles]
    return [(x, y, w, h) for x, y, w, h in coco_mask.toBbox(coded).tolist()]


def bbox_xywh(rle: Rle) -> tuple[float, float, float, float]:
    """COCO's box of the mask, (x, y, width, height) in pixels; all 0 for an empty mask.

    Raises ValueError as `runs` does.
    """
    if not runs(rle)[1:].all():
        # The COCO library takes runs of no length for pixels.
        rle = encode(decode(rle))
    x, y, w, h = coco_mask.toBbox(_to_bytes(rle)).tolist()
    return (x, y, w, h)


def runs(rle: Rle) -> NDArray[np.int64]:
    """Run lengths, background first, column-major; they add up to H·W.

    Raises ValueError where `counts` is not such a string. Checked here rather than in the COCO
    library, which reads and writes past its buffers when given damaged counts.
    """
    lengths = unpack(rle.counts)
    height, width = rle.size_hw
    _check_size(rle.size_hw)
    if (lengths < 0).any() or int(lengths.sum()) != height * width:
        raise ValueError(f"runs do not add up to the {width}x{height} pixels of the mask")
    return lengths


def unpack(counts: str) -> NDArray[np.int64]:
    """The run lengths in COCO's compressed form, whatever they add up to.

    The form: 5 bits a character, the 6th says that more follow, little end first; from the fourth
    number on, each is the difference from the number two before. Raises ValueError (of which
    UnicodeEncodeError is one) for a string that is not of this form, or that spells a number with
    more characters than the COCO library can read.
    """
    codes = np.frombuffer(counts.encode("ascii"), dtype=np.uint8).astype(np.int64) - 48
    if not codes.size:
        return codes
    if codes.min() < 0 or codes.max() > 63 or codes[-1] & 32:
        raise ValueError("counts is not COCO's compressed form")
    ends = np.flatnonzero(codes & 32 == 0)
    starts = np.concatenate(([0], ends[:-1] + 1))
    sizes = ends - starts + 1
    if sizes.max() > _MAX_CHARACTERS:
        raise ValueError("counts holds a number beyond 30 bits")
    places = np.arange(codes.size) - np.repeat(starts, sizes)
    numbers = np.add.reduceat((codes & 31) << (5 * places), starts)
    numbers -= ((codes[ends] >> 4) & 1) << (5 * sizes)
    numbers[1::2] = np.cumsum(numbers[1::2])
    numbers[2::2] = np.cumsum(numbers[2::2])
    return numbers


def decode_window(rle: Rle) -> tuple[Mask, tuple[int, int]]:
    """Decode no more than the mask's box: (h, w) bool, and its top left pixel (x, y).

    An empty mask gives a (0, 0) window at (0, 0).
    """
    height = rle.size_hw[0]
    edges = np.cumsum(runs(rle))
    starts, stops = edges[0:-1:2], edges[1::2]
    filled = stops > starts
    starts, stops = starts[filled], stops[filled]
    if not starts.size:
        return np.zeros((0, 0), dtype=np.bool_), (0, 0)
    x0, x1 = int(starts[0]) // height, (int(stops[-1]) - 1) // height + 1
    y0, y1 = 0, height
    if (starts // height == (stops - 1) // height).all():
        y0, y1 = int((starts % height).min()), int(((stops - 1) % height).max()) + 1
    bounds = np.empty(2 * starts.size + 2, dtype=np.int64)
    bounds[0], bounds[-1] = x0 * height, x1 * height
    bounds[1:-1:2], bounds[2:-1:2] = starts, stops
    foreground = np.arange(bounds.size - 1) % 2 == 1
    columns = np.repeat(foreground, np.diff(bounds)).reshape(x1 - x0, height)
    return columns.T[y0:y1], (x0, y0)


def union(rles: Sequence[Rle]) -> Rle:
    """The mask that covers whatever any of the masks covers.

    Raises ValueError if there is none, if they differ in size, or as `runs` does.
    """
    if not rles:
        raise ValueError("a union needs a mask")
    if any(rle.size_hw != rles[0].size_hw for rle in rles):
        raise ValueError("a union needs masks of one size")
    coded: Any = [_checked(rle) for rle in rles]
    height, width = rles[0].size_hw
    if height * width >= _LONG_RUN:
        return encode(np.logical_or.reduce([decode(rle) for rle in rles]))
    merged: Any = coco_mask.merge(coded)
    return Rle(rles[0].size_hw, merged["counts"].decode("ascii"))


def iou_matrix(first: Sequence[Rle], second: Sequence[Rle]) -> NDArray[np.float64]:
    """IoU of every mask of `first` with every mask of `second`, (len(first), len(second)).

    Raises ValueError as `runs` does.
    """
    if not first or not second:
        return np.zeros((len(first), len(second)))
    crowd = [0] * len(second)
    ious = coco_mask.iou([_checked(r) for r in first], [_checked(r) for r in second], crowd)
    return np.asarray(ious, dtype=np.float64).reshape(len(first), len(second))


def shared_pixels(
    ious: NDArray[np.float64], sums_of_areas: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Pixels that are in both of two masks, from their IoU and the sum of their areas.

    Whole numbers, so that the share of a mask that lies in another is 1 where all of it does, and
    never more.
    """
    return np.rint(ious / (1 + ious) * sums_of_areas)


def from_runs(runs: Sequence[int], size_hw: tuple[int, int]) -> Rle:
    """Compress run lengths (background first, column-major) that add up to H·W.

    Raises ValueError for over `MAX_PIXELS`.
    """
    height, width = size_hw
    _check_size(size_hw)
    if height * width >= _LONG_RUN:
        return Rle(size_hw, _pack(runs))
    plain: Any = {"size": [height, width], "counts": [int(n) for n in runs]}
    coded: Any = coco_mask.frPyObjects(plain, height, width)
    counts = coded["counts"]
    return Rle((height, width), counts.decode("ascii") if isinstance(counts, bytes) else counts)


def _runs_of(mask: NDArray[Any]) -> list[int]:
    pixels = (mask != 0).ravel(order="F")
    edges = np.flatnonzero(pixels[1:] != pixels[:-1]) + 1
    runs = np.diff(np.concatenate(([0], edges, [pixels.size]))).tolist()
    return [0, *runs] if pixels[0] else runs


def _pack(runs: Sequence[int]) -> str:
    """What `unpack` undoes."""
    characters: list[int] = []
    for place, run in enumerate(runs):
        number = run - runs[place - 2] if place > 2 else run
        more = True
        while more:
            bits, number = number & 31, number >> 5
            more = number != (-1 if bits & 16 else 0)
            characters.append(48 + (bits | 32 if more else bits))
    return bytes(characters).decode("ascii")


def encode_window(
    window: NDArray[Any], *, origin_xy: tuple[int, int], size_hw: tuple[int, int]
) -> Rle:
    """Encode a mask that is zero outside a window, without an array of the full size.

    window: (h, w) mask, non-zero is foreground; it must lie inside the image.
    origin_xy: the window's top left pixel in the image.
    size_hw: the image's (height, width).
    """
    height, width = size_hw
    x0, y0 = origin_xy
    h, w = window.shape
    if x0 < 0 or y0 < 0 or x0 + w > width or y0 + h > height:
        raise ValueError(f"window {w}x{h} at {origin_xy} leaves the {width}x{height} image")
    padded = np.zeros((w, h + 2), dtype=np.int8)
    padded[:, 1:-1] = (window != 0).T
    steps = np.diff(padded, axis=1)
    column_start = (np.arange(x0, x0 + w, dtype=np.int64) * height + y0)[:, None]
    positions = np.broadcast_to(column_start + np.arange(h + 1), steps.shape)
    starts, ends = positions[steps == 1], positions[steps == -1]
    # A run that reaches the image's bottom goes on at the top of the next column.
    joined = starts[1:] == ends[:-1]
    starts = starts[np.concatenate(([True], ~joined))] if starts.size else starts
    ends = ends[np.concatenate((~joined, [True]))] if ends.size else ends
    edges = np.empty(2 * starts.size + 2, dtype=np.int64)
    edges[0], edges[-1] = 0, height * width
    edges[1:-1:2], edges[2:-1:2] = starts, ends
    runs = np.diff(edges)
    return from_runs((runs if runs[-1] else runs[:-1]).tolist(), size_hw)


def _check_size(size_hw: tuple[int, int]) -> None:
    height, width = size_hw
    if not 0 <= height * width <= MAX_PIXELS or height < 0:
        raise ValueError(f"a mask of {width}x{height} pixels: at most {MAX_PIXELS} are possible")


def _checked(rle: Rle) -> Any:
    """`_to_bytes` of a mask that may come from a file that somebody damaged."""
    runs(rle)
    return _to_bytes(rle)


def _to_bytes(rle: Rle) -> Any:
    """The dict that pycocotools takes; its stubs name a type that exists only in them."""
    return {"size": list(rle.size_hw), "counts": rle.counts.encode("ascii")}
