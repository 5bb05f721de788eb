"""The same image in two datasets is found by its content, or by a name that only one image has."""

from pathlib import Path

import numpy as np

from sa_engine.dataset.reader import Dataset
from sa_engine.pipelines.pairs import at_size, paired
from tests.support.drawing import grid, rows
from tests.support.written import Written, mask_record, write_dataset


def noise(seed: int, size_hw: tuple[int, int] = (4, 6)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (*size_hw, 3), dtype=np.uint8)


LEFT = mask_record(grid("###...", "###...", "###...", "......"))
LEFT_LESS = mask_record(grid("###...", "###...", "##....", "......"))
RIGHT = mask_record(grid("......", "....##", "....##", "......"))


def test_pairs_and_their_masks(tmp_path: Path) -> None:
    first = write_dataset(
        tmp_path / "a",
        [Written(noise(1), [RIGHT, LEFT], "x.png"), Written(noise(2), [], "y.png"), Written(None)],
    )
    second = write_dataset(
        tmp_path / "b",
        [
            Written(noise(3), [RIGHT], "new.png"),
            Written(noise(1), [LEFT_LESS], "renamed.png"),
            # Another picture of the same name: stored anew, say.
            Written(noise(4), [], "y.png"),
        ],
    )
    pairs = list(paired(Dataset(first), Dataset(second)))
    names = [(p.first and p.first.source, p.second and p.second.source, p.matches) for p in pairs]
    assert names == [
        ("x.png", "renamed.png", ((1, 0, 8 / 9),)),
        ("y.png", "y.png", ()),
        ("picture 002.png", None, ()),
        (None, "new.png", ()),
    ]


def test_masks_at_another_size(tmp_path: Path) -> None:
    path = write_dataset(tmp_path / "a", [Written(noise(1), [RIGHT])])
    record = at_size(Dataset(path)[0], (8, 12))
    assert (record.height, record.width) == (8, 12)
    (mask,) = record.annotations
    assert rows(mask.segmentation)[2] == "........####"
    assert (mask.bbox_xywh, mask.area) == ((8, 2, 4, 4), 16)
