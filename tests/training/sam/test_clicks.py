"""Points drawn from error regions, on hand-written masks."""

import torch

from sa_engine.training.sam.clicks import depth_of, error_points, hashed_uniform

KEYS = torch.arange(200)


def masks(rows: list[list[float]]) -> torch.Tensor:
    return torch.tensor(rows)[None].expand(len(KEYS), -1, -1)


TARGET = masks([[1, 1, 0], [0, 0, 0], [0, 0, 0]])


def cells(points: torch.Tensor) -> set[tuple[int, int]]:
    """(column, row) of each point; a cell is 4 pixels wide and pixels' centres are at + 0.5."""
    return {(int((x + 0.5) // 4), int((y + 0.5) // 4)) for x, y in points.tolist()}


def test_missed_foreground_is_clicked_as_foreground():
    logits = masks([[1, -1, -1], [-1, -1, -1], [-1, -1, -1]])
    points, labels = error_points(logits, TARGET, keys_P=KEYS, salt=1)
    assert cells(points) == {(1, 0)}
    assert labels.unique().tolist() == [1]


def test_excess_is_clicked_as_background():
    logits = masks([[1, 1, -1], [-1, -1, -1], [1, -1, 1]])
    points, labels = error_points(logits, TARGET, keys_P=KEYS, salt=1)
    assert cells(points) == {(0, 2), (2, 2)}
    assert labels.unique().tolist() == [0]


def test_without_error_the_target_is_clicked():
    logits = masks([[1, 1, -1], [-1, -1, -1], [-1, -1, -1]])
    points, labels = error_points(logits, TARGET, keys_P=KEYS, salt=1)
    assert cells(points) == {(0, 0), (1, 0)}
    assert labels.unique().tolist() == [1]


def test_points_depend_on_key_and_salt_alone():
    logits = torch.full((200, 3, 3), -1.0)
    points, _ = error_points(logits, TARGET, keys_P=KEYS, salt=1)
    some, _ = error_points(logits[50:60], TARGET[50:60], keys_P=KEYS[50:60], salt=1)
    other, _ = error_points(logits, TARGET, keys_P=KEYS, salt=2)
    assert torch.equal(points[50:60], some)
    assert not torch.equal(points, other)


def test_hashed_numbers_are_spread_evenly():
    numbers = hashed_uniform(torch.arange(100), 1000, salt=3)
    counts = torch.histc(numbers, bins=10, min=0, max=1)
    assert numbers.min() >= 0 and numbers.max() < 1
    assert (counts / 10_000 - 1).abs().max() < 0.05
    assert len(numbers.unique()) > 99_000


def test_depth_by_hand():
    region = torch.zeros(1, 7, 9, dtype=torch.bool)
    region[0, 1:6, 1:8] = True
    region[0, 0, 0] = True
    assert depth_of(region)[0].int().tolist() == [
        [1, 0, 0, 0, 0, 0, 0, 0, 0],
        [0, 1, 1, 1, 1, 1, 1, 1, 0],
        [0, 1, 2, 2, 2, 2, 2, 1, 0],
        [0, 1, 2, 3, 3, 3, 2, 1, 0],
        [0, 1, 2, 2, 2, 2, 2, 1, 0],
        [0, 1, 1, 1, 1, 1, 1, 1, 0],
        [0, 0, 0, 0, 0, 0, 0, 0, 0],
    ]


def test_an_inner_correction_is_the_middle_of_the_largest_error():
    target = torch.zeros(200, 16, 16)
    target[:, 1:6, 1:6] = 1
    target[:, 10:12, 10:12] = 1
    nothing = torch.full((200, 16, 16), -1.0)
    points, labels = error_points(nothing, target, keys_P=KEYS, salt=1, inner_probability=1.0)
    assert cells(points) == {(3, 3)}
    assert labels.unique().tolist() == [1]
    points, _ = error_points(nothing, target, keys_P=KEYS, salt=1, inner_probability=0.5)
    columns = [int((x + 0.5) // 4) for x in points[:, 0].tolist()]
    assert 80 < columns.count(3) < 140
    # Too much and too little side by side are two errors, not one.
    points, labels = error_points(
        torch.where(torch.arange(16)[None, None] < 6, -1.0, 1.0).expand(200, 16, 16),
        torch.where(torch.arange(16)[None, None] < 6, 1.0, 0.0).expand(200, 16, 16),
        keys_P=KEYS,
        salt=1,
        inner_probability=1.0,
    )
    assert labels.unique().tolist() == [0]
    assert {x for x, _ in cells(points)} == {10, 11}
