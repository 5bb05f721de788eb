"""Which image comes next."""

from sa_engine.annotate.order import RANDOM_SHARE, Order, by_uncertainty, image_order


def test_listed_random_and_sampled() -> None:
    assert image_order(5, Order.LISTED, seed=0, sample=None) == [1, 2, 3, 4, 5]
    shuffled = image_order(100, Order.RANDOM, seed=0, sample=None)
    assert sorted(shuffled) == list(range(1, 101))
    assert shuffled != list(range(1, 101))
    assert shuffled == image_order(100, Order.RANDOM, seed=0, sample=None)
    sample = image_order(100, Order.LISTED, seed=3, sample=10)
    assert sample == sorted(sample)
    assert len(set(sample)) == 10
    assert sample != image_order(100, Order.LISTED, seed=4, sample=10)
    assert image_order(3, Order.LISTED, seed=0, sample=10) == [1, 2, 3]


def test_three_of_ten_are_drawn_at_random_whatever_their_score() -> None:
    scores = {number: number / 100 for number in range(1, 81)}
    found = by_uncertainty(range(1, 101), scores, seed=0)
    assert sorted(number for number, _ in found) == list(range(1, 101))
    for start in range(0, 100, 10):
        kinds = [why for _, why in found[start : start + 10]]
        assert kinds.count("random") == RANDOM_SHARE
    hunted = [number for number, why in found[:20] if why == "uncertain"]
    assert hunted == sorted(hunted, reverse=True)
    assert min(hunted) > 50
