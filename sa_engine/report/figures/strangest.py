"""The images that stand out most by each measure."""

import heapq
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sa_engine.report.figures.image_measures import ImageMeasures

COUNT = 24


@dataclass(frozen=True, slots=True)
class Strange:
    """An image and why it stands out: the value, and the position of the mask that has it."""

    image_id: int
    value: float
    mask: int | None = None


Found = tuple[float, int | None] | None
"""A value and the mask that has it; None if the image has no such value."""


def _most(name: str, sign: float = 1.0) -> Callable[[ImageMeasures], Found]:
    """The mask of an image with the largest (or, with sign -1, smallest) value."""

    def find(image: ImageMeasures) -> Found:
        column: NDArray[Any] = image.masks[name]
        if not column.size or np.isnan(column).all():
            return None
        place = int(np.nanargmax(sign * column))
        return float(column[place]), image.positions[place]

    return find


def _mean(name: str) -> Callable[[ImageMeasures], Found]:
    def find(image: ImageMeasures) -> Found:
        column = image.masks[name]
        known = column[~np.isnan(column)]
        return (float(known.mean()), None) if known.size else None

    return find


def _share(name: str, limit: float) -> Callable[[ImageMeasures], Found]:
    def find(image: ImageMeasures) -> Found:
        column = image.masks[name]
        return (float((column >= limit).mean()), None) if column.size else None

    return find


def _of_image(name: str) -> Callable[[ImageMeasures], Found]:
    return lambda image: (image.image()[name], None)


@dataclass(frozen=True, slots=True)
class Oddity:
    """A way to stand out. sign: 1 where large values do, -1 where small ones do."""

    title: str
    sign: float
    find: Callable[[ImageMeasures], Found]


ODDITIES: Mapping[str, Oddity] = {
    "most_masks": Oddity("Most masks", 1, _of_image("masks")),
    "fewest_masks": Oddity("Fewest masks", -1, _of_image("masks")),
    "largest_mask": Oddity("Largest mask", 1, _most("relative_size")),
    "smallest_masks": Oddity("Smallest masks, mean", -1, _mean("relative_size")),
    "most_concave": Oddity("Most concave mask", 1, _most("concavity")),
    "longest_boundary": Oddity("Longest boundary", 1, _most("boundary_px")),
    "thinnest": Oddity("Widest mask for its height", 1, _most("aspect")),
    "tallest": Oddity("Tallest mask for its width", -1, _most("aspect", -1)),
    "most_components": Oddity("Mask of most pieces", 1, _most("components")),
    "most_holes": Oddity("Mask with most holes", 1, _most("holes")),
    "most_same": Oddity("Nearly duplicate masks, share", 1, _share("largest_iou", 0.9)),
    "most_nested": Oddity("Masks inside larger ones, share", 1, _share("inside", 0.9)),
    "least_covered": Oddity("Least covered", -1, _of_image("covered")),
    "lowest_iou": Oddity("Lowest predicted IoU, mean", -1, _mean("predicted_iou")),
    "lowest_stability": Oddity("Lowest stability, mean", -1, _mean("stability_score")),
    "slowest": Oddity("Slowest mask of a person, seconds", 1, _most("seconds")),
}


@dataclass(slots=True)
class Strangest:
    """For each oddity the `count` images with the most extreme values, in bounded memory."""

    count: int = COUNT
    _heaps: dict[str, list[tuple[float, int, float, int]]] = field(default_factory=dict)

    def add(self, image: ImageMeasures) -> None:
        """Look at an image."""
        for name, oddity in ODDITIES.items():
            found = oddity.find(image)
            if found is None:
                continue
            value, mask = found
            entry = (
                oddity.sign * value,
                -image.record.image_id,
                value,
                -1 if mask is None else mask,
            )
            self._push(name, entry)

    def update(self, other: "Strangest") -> None:
        """Take over what another one has found."""
        for name, heap in other._heaps.items():
            for entry in heap:
                self._push(name, entry)

    def found(self) -> dict[str, list[Strange]]:
        """By oddity, the strangest first; oddities by which all images are alike are left out."""
        lists: dict[str, list[Strange]] = {}
        for name in ODDITIES:
            entries = sorted(self._heaps.get(name, ()), reverse=True)
            if len({entry[0] for entry in entries}) > 1:
                lists[name] = [
                    Strange(-number, value, None if mask < 0 else mask)
                    for _, number, value, mask in entries
                ]
        return lists

    def _push(self, name: str, entry: tuple[float, int, float, int]) -> None:
        heap = self._heaps.setdefault(name, [])
        if len(heap) < self.count:
            heapq.heappush(heap, entry)
        else:
            heapq.heappushpop(heap, entry)
