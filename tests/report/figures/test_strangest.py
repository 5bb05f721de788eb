"""The most extreme images by each measure, whatever the order they come in."""

import numpy as np

from sa_engine.report.figures.image_measures import measure_image
from sa_engine.report.figures.strangest import Strange, Strangest
from tests.report.figures.test_gathered import record


def images() -> list:
    rng = np.random.default_rng(0)
    made = []
    for number in range(1, 13):
        boxes = [
            (int(x), int(y), int(x) + number, int(y) + 2)
            for x, y in rng.integers(0, 16, (number % 5 + 1, 2))
        ]
        made.append(measure_image(record(number, *boxes)))
    return made


def test_lists_are_those_of_sorting_everything() -> None:
    every = images()
    found, half = Strangest(count=4), Strangest(count=4)
    for image in every[6:]:
        half.add(image)
    for image in every[:6]:
        found.add(image)
    found.update(half)
    lists = found.found()
    assert [(s.image_id, s.value) for s in lists["most_masks"]] == [(4, 5), (9, 5), (3, 4), (8, 4)]
    widest = sorted(every, key=lambda image: -image.masks["aspect"].max())[:4]
    assert [s.image_id for s in lists["thinnest"]] == [image.record.image_id for image in widest]
    # The mask that stands out is named by its position.
    assert lists["thinnest"][0] == Strange(12, 6.0, 0)
    # No image has a score, and none has holes: such lists say nothing.
    assert "lowest_iou" not in lists
    assert "most_holes" not in lists
