"""Boundaries of partitions, as BSDS500's own files hold them."""

import numpy as np
from numpy.typing import NDArray

from sa_engine.dataset.records import ImageRecord
from sa_engine.errors import UsageError
from sa_engine.evaluation.edges.thinning import thin
from sa_engine.masks import rle
from sa_engine.masks.rle import Mask

_LEAST_COVERED = 0.99
"""Share of the image that the regions of a partition cover."""


def partition_boundaries(labels: NDArray[np.int64]) -> Mask:
    """Where a (H, W) label map changes to the east, south or south-east, thinned to one pixel.

    On BSDS500 this is the `Boundaries` of each file.
    """
    changes = np.zeros(labels.shape, dtype=np.bool_)
    changes[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    changes[:-1] |= labels[:-1] != labels[1:]
    changes[:-1, :-1] |= labels[:-1, :-1] != labels[1:, 1:]
    return thin(changes)


def drawn_boundaries(record: ImageRecord) -> list[Mask]:
    """The boundaries of each person's partition of an image.

    Raises UsageError if a person's masks are objects that leave much of the image out.
    """
    people: dict[str, NDArray[np.int64]] = {}
    for number, mask in enumerate(record.annotations, start=1):
        person = mask.annotator or ""
        labels = people.setdefault(person, np.zeros((record.height, record.width), dtype=np.int64))
        labels[rle.decode(mask.segmentation)] = number
    for person, labels in people.items():
        covered = np.count_nonzero(labels) / labels.size
        if covered < _LEAST_COVERED:
            raise UsageError(
                f"{record.source}: the masks of annotator {person or '(nobody)'} cover "
                f"{covered:.0%} of the image: edges are scored on partitions of whole images, as "
                "BSDS500's (sa-engine import groundTruth/ --format bsds)"
            )
    return [partition_boundaries(labels) for labels in people.values()]
