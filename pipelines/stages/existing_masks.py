"""Masks that a dataset already has of the images that another run looks at."""

import hashlib

import cv2
import numpy as np

from sa_engine.dataset.images.reading import StoredImage
from sa_engine.dataset.reader import Dataset
from sa_engine.dataset.records import ImageStatus
from sa_engine.dataset.sources.listing import Source
from sa_engine.masks import rle
from sa_engine.masks.rle import Rle

_SAME_SHAPE = 0.01
"""Sides of one picture at two sizes agree up to rounding: relative difference of their ratio."""


class ExistingMasks:
    """Finds the masks of an image by the content of its file, or by its name.

    Only what identifies images is held in memory; masks are read as they are asked for.
    """

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self._by_content: dict[str, int] = {}
        self._by_name: dict[str, int] = {}
        position = 0
        for index in dataset.shard_indices:
            columns = dataset.columns(index, ("sha256", "source", "status"))
            rows = zip(columns["sha256"], columns["source"], columns["status"], strict=True)
            for digest, name, status in rows:
                if status == ImageStatus.OK.value:
                    self._by_content.setdefault(digest, position)
                    self._by_name.setdefault(name, position)
                position += 1

    def of(self, source: Source, image: StoredImage) -> list[Rle]:
        """The masks that are there of an image, at its size; none if the dataset lacks it.

        An image of the same name but of another shape is another image.
        """
        position = self._position(source, image)
        if position is None:
            return []
        record = self._dataset[position]
        masks = [mask.segmentation for mask in record.annotations if not mask.iscrowd]
        height, width = image.size_hw
        if (record.height, record.width) == (height, width):
            return masks
        if abs(record.width * height / (record.height * width) - 1) > _SAME_SHAPE:
            return []
        return [resized for mask in masks if rle.area(resized := _resize(mask, image.size_hw))]

    def _position(self, source: Source, image: StoredImage) -> int | None:
        # The stored bytes are the file's own unless it had to be turned or downsized.
        position = self._by_content.get(image.sha256)
        if position is None:
            position = self._by_content.get(hashlib.sha256(image.data).hexdigest())
        return self._by_name.get(source.name) if position is None else position


def _resize(mask: Rle, size_hw: tuple[int, int]) -> Rle:
    pixels = rle.decode(mask).view(np.uint8)
    return rle.encode(cv2.resize(pixels, size_hw[::-1], interpolation=cv2.INTER_NEAREST))
