"""Boxes of a detector, in COCO's results format, for the images of a dataset."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sa_engine.dataset.records import ImageRecord
from sa_engine.errors import UsageError

BoxXywh = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class GivenBox:
    """A detected box, (x, y, width, height) in pixels, its category's number and its score."""

    box_xywh: BoxXywh
    category: int
    score: float


@dataclass(frozen=True, slots=True)
class BoxFile:
    """The boxes of a file by the image's number."""

    path: Path
    by_image: Mapping[int, Sequence[GivenBox]]

    def of(self, record: ImageRecord) -> Sequence[GivenBox]:
        """The boxes of an image, found by its number in the annotations that were imported, or by
        its number in the dataset where it came with none.
        """
        return self.by_image.get(number_of(record), ())


def number_of(record: ImageRecord) -> int:
    """The number that the source gave the image, or else the dataset's own."""
    number = record.attributes.get("source_id")
    return number if isinstance(number, int) else record.image_id


def read_boxes(path: Path) -> BoxFile:
    """Read a file of COCO's results format: a list of {image_id, category_id, bbox, score}.

    Raises UsageError if there is none, or an entry is not of this form.
    """
    try:
        content: Any = json.loads(path.read_bytes())
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise UsageError(f"{path} is no JSON file: {error}") from error
    if not isinstance(content, list):
        raise UsageError(f"{path} is no list: give boxes in COCO's results format")
    by_image: dict[int, list[GivenBox]] = {}
    for place, entry in enumerate(content):
        try:
            x, y, width, height = (float(value) for value in entry["bbox"])
            box = GivenBox((x, y, width, height), int(entry["category_id"]), float(entry["score"]))
            by_image.setdefault(int(entry["image_id"]), []).append(box)
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError(
                f"{path}, entry {place}: {error!r}; each needs image_id, category_id, bbox with "
                "four numbers, and score"
            ) from error
    return BoxFile(path, by_image)
