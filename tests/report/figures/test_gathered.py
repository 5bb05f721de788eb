"""Figures of parts put together are those of the whole; corners and middle by hand."""

from typing import Any

import numpy as np
import pytest

from sa_engine.dataset.records import ImageRecord, ImageStatus, Stage
from sa_engine.report.figures.gathered import CENTRE_CELLS, DatasetFigures
from sa_engine.report.figures.image_measures import measure_image
from sa_engine.report.figures.tables import figures_table
from tests.support.written import mask_record


def record(image_id: int, *boxes: tuple[int, int, int, int], **known: Any) -> ImageRecord:
    masks = []
    for left, top, right, bottom in boxes:
        pixels = np.zeros((32, 32), dtype=bool)
        pixels[top:bottom, left:right] = True
        masks.append(mask_record(pixels, **known))
    return ImageRecord(
        image_id=image_id,
        file_name="x",
        source="x",
        width=32,
        height=32,
        sha256="",
        annotations=tuple(masks),
    )


FAILED = ImageRecord(
    image_id=9,
    file_name="",
    source="x",
    width=0,
    height=0,
    sha256="",
    status=ImageStatus.FAILED,
    error="missing: gone",
)
CORNER = record(1, (0, 0, 4, 4), category="car")
MIDDLE = record(2, (12, 12, 20, 20), (14, 14, 16, 16), stage=Stage.MANUAL)
EDGE = record(3, (0, 14, 4, 18))


def gathered(*records: ImageRecord) -> DatasetFigures:
    figures = DatasetFigures()
    for each in records:
        figures.add(measure_image(each))
    return figures


def test_parts_are_the_whole() -> None:
    whole = gathered(CORNER, MIDDLE, EDGE)
    whole.add_failure(FAILED)
    first, second = gathered(CORNER), gathered(MIDDLE, EDGE)
    second.add_failure(FAILED)
    first.update(second)
    assert first.to_json() == whole.to_json()
    said = whole.to_json()
    assert (said["images"], said["masks"], said["failures"]) == (3, 4, {"missing": 1})
    assert said["all"]["nested_share"] == 0.25
    assert said["all"]["size_shares"] == {"small": 1, "medium": 0, "large": 0}
    assert {name: part["masks"] for name, part in said["stages"].items()} == {
        "automatic": 2,
        "manual": 2,
    }
    assert said["categories"] == {"car": 1}
    assert whole.centre_shares() == (0.25, 0.5)
    assert np.sum(said["centres"]["cells"]) == 4
    assert len(said["centres"]["cells"]) == CENTRE_CELLS
    with pytest.raises(ValueError, match="went through"):
        whole.add_failure(CORNER)


def test_the_table_has_every_mask_once_for_each_measure() -> None:
    rows = figures_table({"a": gathered(CORNER, MIDDLE, EDGE)}).to_pylist()
    areas = [row for row in rows if row["kind"] == "mask" and row["measure"] == "area"]
    assert sum(row["count"] for row in areas) == 4
    assert sum(row["share"] for row in areas) == pytest.approx(1)
    assert {row["group"] for row in rows if row["kind"] == "stage"} == {"automatic", "manual"}


def test_nothing() -> None:
    assert DatasetFigures().centre_shares() is None
    assert DatasetFigures().to_json()["all"]["nested_share"] is None
