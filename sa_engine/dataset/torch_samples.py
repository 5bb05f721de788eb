"""A dataset as torch takes it: images and masks as tensors."""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils import data

from sa_engine.dataset.coco_dict import OBJECT, Readable, categories
from sa_engine.dataset.records import ImageRecord, ImageStatus


class ImageAndTarget(NamedTuple):
    """One image and its masks, or, from a `DataLoader`, a list of each.

    image: (3, H, W) uint8, RGB.
    target: "masks" (N, H, W) bool, "boxes" (N, 4) float32 as x0, y0, x1, y1 in pixels, the right
        and lower edge excluded, "labels" (N,) int64, places in `TorchDataset.classes` counted from
        1, "iscrowd" (N,) bool, and "image_id".
    """

    image: Any
    target: Any


class TorchDataset(data.Dataset[ImageAndTarget]):
    """The images of a dataset that went through. A `DataLoader` makes lists of its samples.

    classes: the names of the masks' categories, sorted.
    """

    def __init__(self, dataset: Readable) -> None:
        self._dataset = dataset
        self.classes = categories(dataset)
        self._labels = {name: number for number, name in enumerate(self.classes, start=1)}
        self._positions: list[int] = []
        start = 0
        for index in dataset.readable_shards:
            statuses = dataset.columns(index, ["status"])["status"]
            self._positions += [
                start + row for row, status in enumerate(statuses) if status == ImageStatus.OK
            ]
            start += len(statuses)
        collate_as_list()

    def __len__(self) -> int:
        return len(self._positions)

    def __getitem__(self, index: int) -> ImageAndTarget:
        record = self._dataset[self._positions[index]]
        rgb = np.ascontiguousarray(self._dataset.read_rgb(record).transpose(2, 0, 1))
        masks = np.zeros((len(record.annotations), record.height, record.width), dtype=bool)
        for place, mask in enumerate(record.annotations):
            masks[place] = mask.mask
        boxes = torch.tensor([m.bbox_xywh for m in record.annotations], dtype=torch.float32)
        boxes = boxes.reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        labels = [self._labels[mask.category or OBJECT] for mask in record.annotations]
        target: dict[str, Tensor | int] = {
            "masks": torch.from_numpy(masks),
            "boxes": boxes,
            "labels": torch.tensor(labels, dtype=torch.int64),
            "iscrowd": torch.tensor(
                [mask.iscrowd for mask in record.annotations], dtype=torch.bool
            ),
            "image_id": record.image_id,
        }
        return ImageAndTarget(torch.from_numpy(rgb), target)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        collate_as_list()


def collate_as_list() -> None:
    """Teach torch's default collation that images of different sizes come as lists."""
    known: dict[Any, Any] = data._utils.collate.default_collate_fn_map
    known.setdefault(ImageAndTarget, _samples)
    known.setdefault(ImageRecord, _records)


def _samples(batch: list[ImageAndTarget], **_: Any) -> ImageAndTarget:
    return ImageAndTarget([each.image for each in batch], [each.target for each in batch])


def _records(batch: list[ImageRecord], **_: Any) -> list[ImageRecord]:
    return batch
