"""Ratings: files, agreement by hand, means by group."""

import math
from pathlib import Path

import pytest

from sa_engine.errors import UsageError
from sa_engine.evaluation.ratings import Rating, agreement, rated_groups, read_ratings


def ratings(**scores: list[int | None]) -> list[Rating]:
    """Scores of masks 1,000,001, 2,000,001, … by rater."""
    return [
        Rating((place + 1) * 1_000_000 + 1, rater, score)
        for rater, own in scores.items()
        for place, score in enumerate(own)
        if score is not None
    ]


def test_alpha_as_published() -> None:
    # Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011), example C: interval .849.
    found = agreement(
        ratings(
            a=[1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None],
            b=[1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3],
            c=[None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None],
            d=[1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None],
        )
    )
    assert found.alpha == pytest.approx(0.849, abs=0.001)
    assert (found.raters, found.masks) == (4, 11)


def test_perfect_and_unknown_agreement() -> None:
    assert agreement(ratings(a=[3, 9], b=[3, 9])).alpha == 1
    assert math.isnan(agreement(ratings(a=[5, 5], b=[5, 5])).alpha)
    alone = agreement(ratings(a=[3, 9]))
    assert alone.masks == 0 and math.isnan(alone.within_1)
    assert agreement(ratings(a=[3, 9], b=[4, 6])).within_1 == 0.5


def test_means_by_group() -> None:
    rows = rated_groups(
        ratings(a=[4, 8, 10], b=[6, None, None]),
        {"stage": {1_000_001: "manual", 2_000_001: "automatic", 3_000_001: "automatic"}},
    )
    assert [(r.kind, r.group, r.masks, r.ratings, r.score.mean) for r in rows] == [
        ("all", "", 3, 4, pytest.approx(23 / 3)),
        ("stage", "automatic", 2, 2, 9),
        ("stage", "manual", 1, 2, 5),
    ]
    assert math.isnan(rows[2].score.low)
    assert rows[0].score.low < rows[0].score.mean < rows[0].score.high


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "anna.csv"
    path.write_text("mask_id,score\n1000001,7\n")
    assert read_ratings(path) == [Rating(1_000_001, "anna", 7)]
    path.write_text('mask_id,rater,score\n1000001,"Bert, B.",10\n')
    assert read_ratings(path) == [Rating(1_000_001, "Bert, B.", 10)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mask_id,stars\n1,2\n", "lacks the column score"),
        ("mask_id,score\n1000001,11\n", "row 1: mask 1000001 has the score 11"),
        ("mask_id,score\n1000001,7.5\n", "whole numbers from 1 to 10"),
        ("mask_id,score\nx,7\n", "row 1"),
        ("", "cannot be read as a table"),
    ],
)
def test_files_that_cannot_work(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "r.csv"
    path.write_text(text)
    with pytest.raises(UsageError, match=message):
        read_ratings(path)
