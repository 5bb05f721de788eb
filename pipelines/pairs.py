"""The images of one dataset, or of two side by side: the same image found by its content."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from sa_engine.automask.parity import compare
from sa_engine.dataset.reader import Dataset
from sa_engine.dataset.records import ImageRecord, ImageStatus, MaskRecord
from sa_engine.masks.rle import bbox_xywh, encode
from sa_engine.masks.sampled import sample

MATCH_IOU = 0.5
"""From this IoU on two masks of an image count as the same object."""

Matches = tuple[tuple[int, int, float], ...]


@dataclass(frozen=True, slots=True)
class Pair:
    """An image in two datasets; None where one lacks it.

    matches: (position in the first, in the second, IoU) of the masks that both have.
    """

    first: ImageRecord | None
    second: ImageRecord | None
    matches: Matches = ()


def paired(first: Dataset, second: Dataset) -> Iterator[Pair]:
    """Every image of two datasets, those of the first in its order, then what only the second has.

    An image is known by the SHA-256 of its file, failing that by its name, where one name is one
    image. Masks of the second are shown at the size that the image has in the first.
    """
    by_content, by_name = _places(second)
    seen: set[int] = set()
    for record in first.images():
        position = by_content.get(record.sha256) if record.sha256 else None
        if position is None:
            position = by_name.get(_base_name(record.source))
        if position is None or position in seen:
            yield Pair(record, None)
            continue
        seen.add(position)
        yield match(record, second[position])
    for position in range(len(second)):
        if position not in seen:
            yield Pair(None, second[position])


def match(first: ImageRecord, second: ImageRecord, *, match_iou: float = MATCH_IOU) -> Pair:
    """Two records of one image, with the masks that both have matched one to one."""
    if ImageStatus.FAILED in (first.status, second.status):
        return Pair(first, second)
    try:
        second = at_size(second, (first.height, first.width))
        found = compare(first.annotations, second.annotations, match_iou=match_iou).matches
    except ValueError:
        # A mask is damaged: both sides are shown, nothing is said to match.
        return Pair(first, second)
    return Pair(first, second, tuple((m.first, m.second, m.iou) for m in found))


def at_size(record: ImageRecord, size_hw: tuple[int, int]) -> ImageRecord:
    """The record as of an image of `size_hw`; itself if it has that size."""
    if (record.height, record.width) == size_hw:
        return record
    height, width = size_hw
    across, down = width / record.width, height / record.height
    masks = tuple(_mask_at_size(mask, size_hw, across, down) for mask in record.annotations)
    return replace(record, height=height, width=width, annotations=masks)


def _mask_at_size(
    mask: MaskRecord, size_hw: tuple[int, int], across: float, down: float
) -> MaskRecord:
    pixels = sample(mask.segmentation, size_hw)
    coded = encode(pixels)
    prompt = mask.prompt_box_xywh
    return replace(
        mask,
        segmentation=coded,
        bbox_xywh=bbox_xywh(coded),
        area=int(np.count_nonzero(pixels)),
        point_coords_xy=tuple((x * across, y * down) for x, y in mask.point_coords_xy),
        prompt_box_xywh=prompt
        and (prompt[0] * across, prompt[1] * down, prompt[2] * across, prompt[3] * down),
    )


def _places(dataset: Dataset) -> tuple[dict[str, int], dict[str, int]]:
    """Positions by SHA-256, and by file name where only one image has it."""
    by_content: dict[str, int] = {}
    by_name: dict[str, int] = {}
    repeated: set[str] = set()
    position = 0
    for index in dataset.shard_indices:
        columns = dataset.columns(index, ("sha256", "source"))
        for digest, source in zip(columns["sha256"], columns["source"], strict=True):
            name = _base_name(source)
            if digest:
                by_content.setdefault(digest, position)
            if name in by_name:
                repeated.add(name)
            by_name.setdefault(name, position)
            position += 1
    return by_content, {name: at for name, at in by_name.items() if name not in repeated}


def _base_name(source: str) -> str:
    return source.replace("\\", "/").replace("!", "/").rpartition("/")[2]
