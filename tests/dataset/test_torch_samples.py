"""A dataset through torch's own loader, with its default collation."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from sa_engine.dataset.reader import Dataset
from tests.support.drawing import grid
from tests.support.written import Written, mask_record, write_dataset


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    small, wide = np.full((3, 4, 3), 7, np.uint8), np.zeros((3, 9, 3), np.uint8)
    mask = mask_record(grid("....", ".##.", "...."))
    images = [Written(small, [mask]), Written(None), Written(wide)]
    write_dataset(tmp_path / "data", images)
    return Dataset(tmp_path / "data")


@pytest.mark.parametrize("workers", [0, 1])
def test_images_of_different_sizes_come_as_lists(dataset: Dataset, workers: int) -> None:
    samples = dataset.to_torch()
    assert (len(samples), samples.classes) == (2, ["object"])
    loader = DataLoader(samples, batch_size=2, num_workers=workers)
    ((images, targets),) = list(loader)
    assert [tuple(image.shape) for image in images] == [(3, 3, 4), (3, 3, 9)]
    assert images[0].dtype == torch.uint8
    first, second = targets
    assert first["masks"].tolist() == [grid("....", ".##.", "....").tolist()]
    assert first["boxes"].tolist() == [[1.0, 1.0, 3.0, 2.0]]
    assert (first["labels"].tolist(), first["image_id"]) == ([1], 1)
    assert (tuple(second["boxes"].shape), second["image_id"]) == ((0, 4), 3)


def test_the_dataset_itself_is_loaded_as_records(dataset: Dataset) -> None:
    (batch,) = list(DataLoader(dataset, batch_size=3))  # type: ignore[arg-type]
    assert batch == list(dataset)
