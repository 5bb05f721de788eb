"""A dataset as one COCO dictionary, for tools that take it from Python."""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sa_engine.dataset.mask_fields import to_json
from sa_engine.dataset.records import ImageRecord, ImageStatus

OBJECT = "object"
"""The category of masks that have none."""


class Readable(Protocol):
    """What is asked of a `reader.Dataset` here."""

    readable_shards: list[int]

    def __getitem__(self, position: int) -> ImageRecord: ...

    def images(self, *, status: ImageStatus | None = None) -> Iterator[ImageRecord]: ...

    def shard_images(
        self, shard_index: int, *, status: ImageStatus | None = None
    ) -> Iterator[ImageRecord]: ...

    def columns(self, shard_index: int, names: Sequence[str]) -> dict[str, list[Any]]: ...

    def read_rgb(self, record: ImageRecord) -> NDArray[np.uint8]: ...


def coco_dict(dataset: Readable) -> dict[str, Any]:
    """ "images", "annotations" and "categories" as COCO instances have them.

    Masks are compressed RLE, boxes x, y, width, height; further fields of a mask go along.
    `file_name` is the image's source.
    """
    names = categories(dataset)
    ids = {name: number for number, name in enumerate(names, start=1)}
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image in dataset.images(status=ImageStatus.OK):
        images.append(
            {
                "id": image.image_id,
                "file_name": image.source,
                "width": image.width,
                "height": image.height,
            }
        )
        for position, mask in enumerate(image.annotations):
            annotations.append(
                {
                    **to_json(mask, image.mask_id(position)),
                    "image_id": image.image_id,
                    "category_id": ids[mask.category or OBJECT],
                    "iscrowd": int(mask.iscrowd),
                }
            )
    known = [{"id": number, "name": name} for name, number in ids.items()]
    return {"images": images, "annotations": annotations, "categories": known}


def categories(dataset: Readable) -> list[str]:
    """The names of the masks' categories, sorted; "object" for masks that have none."""
    found: set[str] = set()
    for index in dataset.readable_shards:
        for image in dataset.shard_images(index, status=ImageStatus.OK):
            found.update(mask.category or OBJECT for mask in image.annotations)
    return sorted(found) or [OBJECT]
