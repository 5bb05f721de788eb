"""The page for rating, used by a person in a real browser, and what is made of it."""

from pathlib import Path

import numpy as np
import pytest

from sa_engine.errors import UsageError
from sa_engine.evaluation.ratings import Rating, read_ratings
from sa_engine.pipelines.rating import groups_of_rated, write_rating_page
from tests.support.pages import open_page
from tests.support.written import Written, mask_record, write_dataset


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    pixels = np.zeros((30, 40), dtype=bool)
    pixels[5:15, 8:30] = True
    masks = [mask_record(pixels, predicted_iou=0.9), mask_record(pixels[::-1])]
    grey = np.full((30, 40, 3), 90, dtype=np.uint8)
    return write_dataset(tmp_path / "<data>", [Written(grey, masks), Written(grey + 1, masks)])


def test_a_person_rates(dataset: Path, tmp_path: Path) -> None:
    path, shown = write_rating_page(dataset, tmp_path / "rating", masks=3, seed=1)
    assert shown == 3
    with open_page(path.as_uri()) as page:
        assert page.title() == "Masks of <data>"
        page.fill("#rater", 'Anna "A"')
        page.click("h1")
        for key in ("7", "0"):
            page.keyboard.press(key)
        page.keyboard.press("ArrowLeft")
        page.keyboard.press("3")
        assert "2 rated" in page.inner_text("#where")
        # What was said survives the page; the browser writes it down a moment later.
        page.wait_for_timeout(1000)
        page.reload()
        assert "2 rated" in page.inner_text("#where")
        assert page.input_value("#rater") == 'Anna "A"'
        with page.expect_download() as download:
            page.click("#save")
        saved = tmp_path / "saved.csv"
        download.value.save_as(saved)
        assert download.value.suggested_filename == "ratings-Anna_A_.csv"
    ratings = read_ratings(saved)
    assert [(rating.rater, rating.score) for rating in ratings] == [
        ('Anna "A"', 7),
        ('Anna "A"', 3),
    ]
    kinds, unknown = groups_of_rated(dataset, [*ratings, Rating(99_000_001, "x", 5)])
    assert unknown == [99_000_001]
    assert set(kinds["stage"].values()) == {"automatic"}
    assert set(kinds["model"].values()) <= {"people", "not recorded"}


def test_nothing_to_rate(tmp_path: Path) -> None:
    empty = write_dataset(tmp_path / "empty", [Written(None)])
    with pytest.raises(UsageError, match="nothing to rate"):
        write_rating_page(empty, tmp_path / "rating", masks=3, seed=0)
    assert not (tmp_path / "rating").exists()
