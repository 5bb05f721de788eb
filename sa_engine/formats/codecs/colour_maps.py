"""Maps whose pixels are colours: each colour is an object or a class.

Which class a colour is of stands in a list beside the maps: `labelmap.txt` of PASCAL VOC as CVAT
and Datumaro write it (`name:red,green,blue:parts:actions`), or `label_colors.txt` of CamVid (`red
green blue name`). Without a list the colours are PASCAL VOC's own palette, if all of them are in
that. Colours are packed as `png.read_colours` does it; black is background.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

MOST_COLOURS = 1024
"""Colours of a map that no list explains; pictures have more."""

LEAST_PIXELS = 8
"""Mean pixels of a colour of such a map; pictures have fewer."""

BACKGROUND = frozenset({"background", "void", "ignored", "unlabelled", "unlabeled"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ColourList:
    """The classes of a list beside the maps, with or without colours.

    names: class names by their place in the list.
    numbers: places in the list by packed colour.
    """

    names: Mapping[int, str] = field(default_factory=dict)
    numbers: Mapping[int, int] = field(default_factory=dict)


def read_list(*folders: Path) -> ColourList:
    """The first list of colours in these folders; an empty one if there is none."""
    for folder in folders:
        for name, parse in (("labelmap.txt", _voc_line), ("label_colors.txt", _camvid_line)):
            try:
                lines = (folder / name).read_text("utf-8-sig", "replace").splitlines()
            except OSError:
                continue
            return _of_lines([parse(line) for line in lines if line.strip() and line[0] != "#"])
    return ColourList()


def number_colours(
    colours_HW: NDArray[np.uint32], numbers: Mapping[int, int]
) -> tuple[NDArray[np.int64], dict[int, str]] | None:
    """(H, W) numbers of a map in colours, and the colour of each number as "#rrggbb".

    numbers: the numbers of known colours. Unknown ones have VOC's number if all have one, and are
    numbered in their order behind the known ones otherwise.
    None if it is no map but a picture: too many colours that are not known.
    """
    values, places = np.unique(colours_HW, return_inverse=True)
    unknown = [int(value) for value in values if int(value) not in numbers and value]
    if unknown and (len(unknown) > MOST_COLOURS or len(unknown) * LEAST_PIXELS > colours_HW.size):
        return None
    known = dict(numbers)
    if all(value in VOC_PALETTE for value in unknown) and not numbers:
        known |= {value: VOC_PALETTE[value] for value in unknown}
    else:
        first = max(numbers.values(), default=0) + 1
        known |= {value: first + place for place, value in enumerate(unknown)}
    found = np.array([known.get(int(value), 0) for value in values], dtype=np.int64)
    names = {known[int(v)]: _hex(int(v)) for v in values if known.get(int(v), 0)}
    return found[places].reshape(colours_HW.shape), names


def _of_lines(lines: list[tuple[str, int | None]]) -> ColourList:
    names: dict[int, str] = {}
    numbers: dict[int, int] = {}
    for place, (name, colour) in enumerate(lines):
        number = 0
        if name and name.lower() not in BACKGROUND:
            # The first of a list is the background's place; a class that stands there is kept
            # apart.
            number = place if place else len(lines)
            names[number] = name
        if colour is not None and name:
            numbers.setdefault(colour, number)
    return ColourList(names=names, numbers=numbers)


def _voc_line(line: str) -> tuple[str, int | None]:
    name, _, rest = line.partition(":")
    return name.strip(), _packed(rest.partition(":")[0].split(","))


def _camvid_line(line: str) -> tuple[str, int | None]:
    parts = line.split()
    colour = _packed(parts[:3])
    return " ".join(parts if colour is None else parts[3:]), colour


def _packed(colour: list[str]) -> int | None:
    """A colour of a list; None if it has none, as in lists for maps of numbers."""
    try:
        red, green, blue = (int(part) for part in colour)
    except ValueError:
        return None
    if not all(0 <= part <= 255 for part in (red, green, blue)):
        return None
    return red + (green << 8) + (blue << 16)


def _hex(colour: int) -> str:
    return f"#{colour & 255:02x}{colour >> 8 & 255:02x}{colour >> 16:02x}"


def _voc_palette() -> dict[int, int]:
    """Numbers of VOC's colours: the bits of a number, spread over the channels from the top."""
    palette: dict[int, int] = {}
    for number in range(256):
        channels = [0, 0, 0]
        for bit in range(8):
            for channel in range(3):
                channels[channel] |= (number >> (3 * bit + channel) & 1) << (7 - bit)
        palette[channels[0] + (channels[1] << 8) + (channels[2] << 16)] = number
    return palette


VOC_PALETTE: Mapping[int, int] = _voc_palette()
"""Numbers by packed colour, in PASCAL VOC's palette of 256."""
