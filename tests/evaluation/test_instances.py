"""AP of masks and of boundaries by hand, and federated sets."""

import math

import cv2
import numpy as np
import pytest

from sa_engine.evaluation.instances import (
    ImageLimits,
    Instance,
    boundary_band,
    boundary_iou,
    instance_scores,
)
from sa_engine.masks.rle import Rle, encode
from tests.support.drawing import grid


def box(left: int, top: int, right: int, bottom: int) -> Rle:
    mask = np.zeros((100, 100), dtype=bool)
    mask[top:bottom, left:right] = True
    return encode(mask)


def known(mask: Rle, category: int = 1, image: int = 1, **more: bool) -> Instance:
    return Instance(image_id=image, category=category, mask=mask, **more)


def found(mask: Rle, score: float, category: int = 1, image: int = 1) -> Instance:
    return Instance(image_id=image, category=category, mask=mask, score=score)


FREE = {1: ImageLimits()}


def test_the_band_is_that_of_boundary_iou() -> None:
    mask = grid("........", ".######.", ".######.", ".######.", ".######.", ".######.", "........")
    # 10 % of a diagonal of 10.6 is one pixel.
    assert (
        boundary_band(mask, 0.1).tolist()
        == grid(
            "........", ".######.", ".#....#.", ".#....#.", ".#....#.", ".######.", "........"
        ).tolist()
    )
    # The image's edge is an outline, too.
    assert boundary_band(np.ones((4, 4), dtype=bool), 0.1)[0].all()
    rng = np.random.default_rng(0)
    noise = cv2.GaussianBlur(rng.random((80, 90)), (0, 0), 4) > 0.5
    distance = cv2.distanceTransform(np.pad(noise, 1).astype(np.uint8), cv2.DIST_C, 3)[1:-1, 1:-1]
    wide = round(0.02 * math.hypot(80, 90))
    assert (boundary_band(noise) == (noise & (distance <= wide))).all()


def test_a_perfect_answer_and_a_shifted_one() -> None:
    objects = [known(box(10, 10, 60, 60)), known(box(70, 70, 90, 90))]
    (every, *_) = instance_scores(objects, [found(each.mask, 0.9) for each in objects], FREE)
    assert (every.name, every.objects) == ("all", 2)
    assert (every.ap, every.ap_50, every.boundary_ap) == pytest.approx((1, 1, 1))
    # One pixel to the side: IoU .96, but of the band 3 pixels wide much less.
    shifted = box(11, 10, 61, 60)
    lesser = boundary_iou(objects[0].mask, shifted)
    # Bands of 564 pixels share 2 x 3 x 49 and 2 x 2 x 44 of them.
    assert lesser == pytest.approx(470 / 658)
    (row, *_) = instance_scores(objects[:1], [found(shifted, 0.9)], FREE)
    assert row.ap == pytest.approx(1)
    assert row.boundary_ap == pytest.approx(sum(lesser >= t for t in np.arange(0.5, 1, 0.05)) / 10)


def test_sizes_and_false_ones() -> None:
    objects = [known(box(0, 0, 20, 20)), known(box(30, 30, 90, 90))]
    answers = [found(box(40, 0, 60, 20), 0.9), found(objects[1].mask, 0.8)]
    rows = {row.name: row for row in instance_scores(objects, answers, FREE)}
    assert set(rows) == {"all", "small", "medium"}
    # The first is wrong, the second right: precision 1/2 up to recall 1/2.
    assert rows["all"].ap_50 == pytest.approx(0.5 * 51 / 101)
    assert rows["small"].ap == 0
    assert rows["medium"].ap == pytest.approx(1)


def test_federated_sets() -> None:
    car, mask = 3, box(10, 10, 60, 60)
    right, wrong = found(mask, 0.5, car), found(box(70, 0, 90, 20), 0.9, car)
    here = [known(mask, car)]

    def ap(answers: list[Instance], limit: ImageLimits, **more: dict) -> float:
        return instance_scores(here, answers, {1: limit}, **more)[0].ap

    strict = ImageLimits(looked_for=frozenset({car}))
    loose = ImageLimits(looked_for=frozenset({car}), not_in_full=frozenset({car}))
    assert ap([wrong, right], strict) == pytest.approx(0.5)
    # Where cars were not looked for in full, one too many may well be a car.
    assert ap([wrong, right], loose) == pytest.approx(1)
    # Detections of a category that was not looked for count for nothing.
    other = found(box(0, 0, 9, 9), 0.99, category=8)
    assert ap([other, right], strict) == pytest.approx(1)
    rows = instance_scores(here, [right], {1: strict}, frequencies={car: "r"})
    assert [row.ap for row in rows if row.name == "rare"] == pytest.approx([1])


def test_crowds_are_passed_over() -> None:
    crowd = known(box(0, 0, 50, 50), iscrowd=True)
    single = known(box(60, 60, 90, 90))
    (row, *_) = instance_scores(
        [crowd, single], [found(box(5, 5, 20, 20), 0.9), found(single.mask, 0.8)], FREE
    )
    assert row.objects == 1
    assert row.ap == pytest.approx(1)
